"""Models of Keras 3: what they may be made of, and what they answer."""

import importlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from common.model_files.keras_models import check_config, load_keras
from common.model_files.sources import ModelFileError
from pipeline.modelfiles import detect
from pipeline.modelforms import Form

# What Keras asks of NumPy 2, in its own code.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}, "registered_name": None}


def _sequential(*layers: Any) -> dict[str, Any]:
    return {"module": "keras", "class_name": "Sequential", "config": {"layers": list(layers)}, "registered_name": None}


@pytest.fixture
def keras() -> Any:
    """Keras on PyTorch."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return importlib.import_module("keras")


@pytest.mark.parametrize(
    "stranger",
    [
        {"module": "keras.layers", "class_name": "Lambda", "config": {}},
        {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}},
        {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {}},
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {}},
        {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
        {"module": "builtins", "class_name": "function", "config": "exec"},
        {"module": "os", "class_name": "function", "config": "system"},
        {"module": "keras.utils", "class_name": "function", "config": "get_file"},
        {"module": "keras.models", "class_name": "function", "config": "load_model"},
        {"module": "keras.src.saving.serialization_lib", "class_name": "enable_unsafe_deserialization", "config": {}},
        {"module": "evil.layers", "class_name": "Dense", "config": {}},
        {"module": None, "class_name": "Dense", "config": {}},
        {"module": ["keras"], "class_name": "Dense", "config": {}},
        {"class_name": "Dense", "config": {}},
        {"module": "keras.layers", "class_name": "Dense", "registered_name": "evil>Dense"},
    ],
)
def test_parts_that_are_not_keras_own_are_refused(stranger: dict[str, Any]) -> None:
    nested = {**DENSE, "config": {"activation": [stranger]}}
    with pytest.raises(ModelFileError, match="may bring code or read files, and is refused"):
        check_config(_sequential(DENSE, nested))


def test_keras_own_parts_pass_and_what_was_compiled_is_not_read() -> None:
    check_config({**_sequential(DENSE), "compile_config": {"loss": {"module": "my", "class_name": "Loss"}}})


def test_a_lambda_is_refused_before_keras_is_asked(tmp_path: Path) -> None:
    config = _sequential({"module": "keras.layers", "class_name": "Lambda", "config": {}})
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    with pytest.raises(ModelFileError, match=r"'keras\.layers\.Lambda'"):
        load_keras(tmp_path / "m.keras")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 100])
def test_damaged_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(content)
    with pytest.raises(ModelFileError, match="no sound Keras model"):
        load_keras(tmp_path / "m.keras")


def test_another_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"only by the name \.keras"):
        load_keras(tmp_path / "m.zip")


def _build(keras: Any) -> Any:
    inputs = keras.Input((4, 4, 1))
    images = keras.layers.Conv2D(4, 3, activation="relu", kernel_initializer=keras.initializers.HeNormal())(inputs)
    flat = keras.layers.Flatten()(keras.layers.BatchNormalization()(images))
    logits = keras.layers.Dense(3, kernel_regularizer="l2")(flat) + keras.layers.Dense(3)(flat)
    model = keras.Model(inputs, keras.layers.Activation("gelu")(logits))
    model.compile(loss="mse", optimizer="adam")
    return model


def test_a_model_answers_as_before_and_trains(keras: Any, tmp_path: Path) -> None:
    model, path = _build(keras), tmp_path / "m.keras"
    model.save(path)
    assert detect(path).form is Form.KERAS
    read = load_keras(path)
    assert isinstance(read, nn.Module)
    inputs = torch.rand(5, 4, 4, 1)
    assert torch.equal(read.eval()(inputs), model.eval()(inputs))
    read(inputs).sum().backward()
    trained = [parameter for parameter in read.parameters() if parameter.requires_grad]
    assert len(trained) == 8
    assert all(parameter.grad is not None for parameter in trained)


def test_a_folder_is_a_model_as_well(keras: Any, tmp_path: Path) -> None:
    model, path = _build(keras), tmp_path / "model"
    with zipfile.ZipFile(_save(model, tmp_path / "m.keras")) as archive:
        archive.extractall(path)
    assert detect(path).form is Form.KERAS
    inputs = torch.rand(5, 4, 4, 1)
    assert torch.equal(load_keras(path).eval()(inputs), model.eval()(inputs))
    (path / "model.weights.h5").write_bytes(b"")
    with pytest.raises(ModelFileError, match="'model' cannot be read by Keras"):
        load_keras(path)


def _save(model: Any, path: Path) -> Path:
    model.save(path)
    return path


def test_a_cut_model_is_refused(keras: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    _build(keras).save(path)
    content = path.read_bytes()
    for length in (100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError):
            load_keras(path)
    weightless = tmp_path / "weightless.keras"
    path.write_bytes(content)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(weightless, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name)[:100] if name.endswith(".h5") else source.read(name))
    with pytest.raises(ModelFileError, match="cannot be read by Keras"):
        load_keras(weightless)
