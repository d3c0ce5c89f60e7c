"""Weights by name, in safetensors, PyTorch states and shards."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from common.model_files.sources import ModelFileError
from common.model_files.states import (
    load_safetensors,
    load_sharded,
    load_torch_state,
    save_safetensors,
    save_torch_state,
)
from tests.payloads import write_all


def _model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def _equal(state: dict[str, Tensor], model: nn.Module) -> bool:
    ours = model.state_dict()
    return list(state) == list(ours) and all(torch.equal(state[name], ours[name]) for name in ours)


def test_a_state_comes_back_to_the_bit(tmp_path: Path) -> None:
    model = _model()
    save_torch_state(model, tmp_path / "m.pt")
    save_safetensors(model, tmp_path / "m.safetensors")
    assert _equal(load_torch_state(tmp_path / "m.pt"), model)
    read = load_safetensors(tmp_path / "m.safetensors")
    assert _equal({name: read[name] for name in model.state_dict()}, model)
    other = _model()
    other.load_state_dict(read)
    inputs = torch.rand(5, 4)
    assert torch.equal(other.eval()(inputs), model.eval()(inputs))


def test_a_tensor_with_two_names_is_written_by_both(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    save_safetensors(model, tmp_path / "m.safetensors")
    assert load_safetensors(tmp_path / "m.safetensors").keys() == model.state_dict().keys()


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 3}])
@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model"])
def test_checkpoints_of_others_have_their_state_found(options: dict[str, Any], key: str | None, tmp_path: Path) -> None:
    state = _model().state_dict()
    torch.save({"epoch": 3, key: state} if key else state, tmp_path / "m.pt", **options)
    assert load_torch_state(tmp_path / "m.pt").keys() == state.keys()


def test_what_has_no_state_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "loss": [1.0]}, tmp_path / "m.pt")
    with pytest.raises(ModelFileError, match=r"'m.pt' has no tensors by name but epoch, loss"):
        load_torch_state(tmp_path / "m.pt")
    torch.save(torch.zeros(2), tmp_path / "m.pt")
    with pytest.raises(ModelFileError, match="no tensors by name"):
        load_torch_state(tmp_path / "m.pt")


def test_no_code_runs_however_it_is_hidden(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for path in write_all(tmp_path, canary):
        with pytest.raises(ModelFileError):
            load_torch_state(path)
    assert not canary.exists()


def test_cut_states_are_refused(tmp_path: Path) -> None:
    model, path = _model(), tmp_path / "m"
    for save, load in ((save_torch_state, load_torch_state), (save_safetensors, load_safetensors)):
        save(model, path)
        content = path.read_bytes()
        for length in (0, 1, 7, 8, 100, len(content) // 2, len(content) - 1):
            path.unlink()
            path.write_bytes(content[:length])
            with pytest.raises(ModelFileError, match="'m' is no sound"):
                load(path)


def _shard(folder: Path, model: nn.Module) -> Path:
    state = model.state_dict()
    names = list(state)
    save_file({name: state[name] for name in names[:2]}, folder / "a.safetensors")
    torch.save({name: state[name] for name in names[2:]}, folder / "b.bin")
    weight_map = {name: "a.safetensors" if name in names[:2] else "b.bin" for name in names}
    index = folder / "model.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    return index


def test_shards_are_one_state_by_index_or_folder(tmp_path: Path) -> None:
    model = _model()
    index = _shard(tmp_path, model)
    assert _equal(load_sharded(index), model)
    assert _equal(load_sharded(tmp_path), model)


def test_a_shard_without_what_the_index_says_is_refused(tmp_path: Path) -> None:
    index = _shard(tmp_path, _model())
    save_file({"0.weight": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelFileError, match=r"names '0.bias', which no shard has"):
        load_sharded(index)


@pytest.mark.parametrize("shard", ["../out.bin", "/etc/passwd", "link.bin", "missing.bin", ""])
def test_a_shard_of_elsewhere_is_not_read(shard: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    torch.save(_model().state_dict(), tmp_path / "out.bin")
    os.symlink(tmp_path / "out.bin", folder / "link.bin")
    (folder / "m.index.json").write_text(json.dumps({"weight_map": {"0.weight": shard}}))
    with pytest.raises(ModelFileError, match=f"'{shard}'"):
        load_sharded(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"weight_map": 3}', b"\xff"])
def test_what_is_no_index_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.index.json").write_bytes(content)
    with pytest.raises(ModelFileError, match="is no index of shards"):
        load_sharded(tmp_path)
