"""Models that bring code of their own, by the SHA-256 of their very bytes."""

import copy
import hashlib
import logging
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from common.model_files.programs import load_torch_export, load_torch_module, load_torchscript, save_torch_export
from common.model_files.sources import ModelFileError
from tests.payloads import FILES, RUNS, write_all

INPUTS = torch.rand(7, 4)


def _model() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout())
    model(torch.rand(8, 4))  # moves the running statistics
    return model.eval()


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _save_script(model: nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(model), path)


def _pickle(model: nn.Module, path: Path) -> None:
    path.write_bytes(pickle.dumps(model))


def _save_legacy(model: nn.Module, path: Path) -> None:
    torch.save(model, path, _use_new_zipfile_serialization=False)


def _export(model: nn.Module, path: Path) -> None:
    save_torch_export(model, torch.rand(2, 4), path)


KINDS = [
    (_pickle, load_torch_module),
    (torch.save, load_torch_module),
    (_save_legacy, load_torch_module),
    (_save_script, load_torchscript),
    (_export, load_torch_export),
]


@pytest.mark.parametrize(("save", "load"), KINDS)
def test_a_program_answers_as_before_and_trains(
    save: Callable[[nn.Module, Path], None], load: Callable[[Path, str], nn.Module], tmp_path: Path
) -> None:
    model, path = _model(), tmp_path / "m"
    save(model, path)
    read = load(path, _hash(path))
    read.train()
    read.eval()
    assert torch.allclose(read(INPUTS), model(INPUTS), atol=1e-6)
    read(INPUTS).sum().backward()
    assert all(parameter.grad is not None for parameter in read.parameters())
    assert len(list(read.parameters())) == 4


@pytest.mark.parametrize("load", [load_torch_module, load_torchscript, load_torch_export])
def test_nothing_runs_of_bytes_that_nobody_vouched_for(load: Callable[[Path, str], nn.Module], tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for path in write_all(tmp_path, canary):
        with pytest.raises(ModelFileError, match=f"its SHA-256 is {_hash(path)}, not {'0' * 64}"):
            load(path, "0" * 64)
    assert not canary.exists()


def test_code_does_run_when_its_bytes_are_vouched_for(tmp_path: Path) -> None:
    for file, wrap in FILES.items():
        canary, path = tmp_path / f"canary of {file}", tmp_path / file
        path.write_bytes(wrap(RUNS["posix"](f"touch '{canary}'")))
        with pytest.raises(ModelFileError, match="holds a int, not a module"):
            load_torch_module(path, _hash(path))
        assert canary.exists()


@pytest.mark.filterwarnings("ignore:.*LeafSpec")  # torch's own, where it copies an exported program
@pytest.mark.parametrize(("save", "load"), KINDS)
def test_a_copy_answers_the_same_and_trains_alone(
    save: Callable[[nn.Module, Path], None], load: Callable[[Path, str], nn.Module], tmp_path: Path
) -> None:
    path = tmp_path / "m"
    save(_model(), path)
    read = load(path, _hash(path)).eval()
    copied = copy.deepcopy(read)
    assert torch.equal(copied(INPUTS), read(INPUTS))
    copied(INPUTS).sum().backward()
    assert all(parameter.is_leaf and parameter.grad is not None for parameter in copied.parameters())
    assert all(parameter.grad is None for parameter in read.parameters())


@pytest.mark.parametrize(("save", "load"), KINDS)
def test_cut_programs_are_refused(
    save: Callable[[nn.Module, Path], None], load: Callable[[Path, str], nn.Module], tmp_path: Path
) -> None:
    path = tmp_path / "m"
    save(_model(), path)
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError):
            load(path, _hash(path))


def test_a_module_of_classes_that_are_not_here_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(_model()).replace(b"Dropout", b"Dropuot"))
    with pytest.raises(ModelFileError, match="cannot be unpickled: AttributeError"):
        load_torch_module(path, _hash(path))


def test_a_frozen_script_is_told_to_have_no_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "m.ts"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.freeze(torch.jit.script(_model())), path)
    with caplog.at_level(logging.WARNING, "force"):
        load_torchscript(path, _hash(path))
    assert "'m.ts' is a frozen TorchScript program" in caplog.text


def test_an_export_for_one_batch_size_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(_model(), (torch.rand(5, 4),)), path)
    with caplog.at_level(logging.WARNING, "force"):
        load_torch_export(path, _hash(path))
    assert "'m.pt2' was exported for batches of exactly 5" in caplog.text


def test_a_model_that_cannot_be_exported_is_refused_and_keeps_its_mode(tmp_path: Path) -> None:
    class Fickle(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    model = Fickle()
    with pytest.raises(ModelFileError, match="Fickle cannot be exported"):
        save_torch_export(model, torch.rand(2, 4), tmp_path / "m.pt2")
    assert model.training
    assert not (tmp_path / "m.pt2").exists()
