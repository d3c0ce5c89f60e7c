"""Pretrained models of transformers: what is refused, and what they answer."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from common.model_files.pretrained import load_pretrained
from common.model_files.sources import ModelFileError
from common.model_files.states import load_sharded
from pipeline.modelfiles import detect
from pipeline.modelforms import Form


@pytest.fixture
def bert() -> Any:
    """A small network of transformers."""
    transformers: Any = importlib.import_module("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.BertConfig(**sizes, vocab_size=10, num_labels=3)
    return transformers.BertForSequenceClassification(config).eval()


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["BertModel"], "auto_map": {"AutoModel": "evil.Model"}},
        {"architectures": ["BertModel"], "vision_config": {"auto_map": {}}},
        {"architectures": ["BertModel"], "attn_implementation": "evil/kernels"},
        {"architectures": ["BertModel"], "trust_remote_code": True},
    ],
)
def test_code_of_a_model_is_never_run(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    with pytest.raises(ModelFileError, match="asks for code"):
        load_pretrained(tmp_path)
    assert not (tmp_path / "canary").exists()


def test_an_adapter_that_would_fetch_its_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelFileError, match=r"adapter_config\.json"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    "config", ["", "[]", "{}", '{"architectures": []}', '{"architectures": "x"', '{"architectures": [["a"]]}']
)
def test_a_config_that_names_no_architecture_is_refused(config: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelFileError, match=r"names (no|an) architecture"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("size", ["1GB", "2KB"])
def test_a_model_answers_as_before_and_trains(size: str, bert: Any, tmp_path: Path) -> None:
    bert.save_pretrained(tmp_path, max_shard_size=size)
    found = detect(tmp_path)
    assert found.form is Form.HUGGINGFACE
    assert found.description.startswith("a pretrained BertForSequenceClassification of transformers, ")
    read = load_pretrained(tmp_path).eval()
    assert isinstance(read, nn.Module)
    ids = torch.randint(0, 10, (2, 5))
    assert torch.equal(read(ids), bert(ids).logits)
    read(ids).sum().backward()
    assert all(parameter.grad is not None for parameter in read.parameters())
    if size == "2KB":
        assert load_sharded(tmp_path).keys() == bert.state_dict().keys()


def test_a_class_that_transformers_does_not_have_is_refused(bert: Any, tmp_path: Path) -> None:
    bert.save_pretrained(tmp_path)
    for name in ("NoSuchModel", "AutoConfig", "logging"):
        (tmp_path / "config.json").write_text(json.dumps({"architectures": [name]}))
        with pytest.raises(ModelFileError, match=f"wants the class '{name}'"):
            load_pretrained(tmp_path)


def test_cut_weights_are_refused(bert: Any, tmp_path: Path) -> None:
    bert.save_pretrained(tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[:-10])
    with pytest.raises(ModelFileError, match="cannot be read by transformers"):
        load_pretrained(tmp_path)
