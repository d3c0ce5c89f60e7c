"""Each form has one reader."""

from pathlib import Path

import pytest
import torch
from torch import nn

from common.model_files.loading import MODEL_READERS, PROGRAM_READERS, load_whole
from common.model_files.sources import ModelFileError
from common.model_files.states import STATE_READERS, load_state
from pipeline.modelfiles import detect
from pipeline.modelforms import PROGRAMS, STATES, Form, hash_file


def test_every_form_that_is_found_has_one_reader() -> None:
    forms = [*STATE_READERS, *MODEL_READERS, *PROGRAM_READERS]
    assert len(set(forms)) == len(forms)
    assert set(forms) == set(Form) - {Form.UNKNOWN, Form.FORCE}
    assert STATE_READERS.keys() == STATES
    assert PROGRAM_READERS.keys() == PROGRAMS


def test_a_file_is_read_as_what_it_is_found_to_be(tmp_path: Path) -> None:
    path, model = tmp_path / "model.any", nn.Linear(3, 2)
    torch.save(model.state_dict(), path)
    assert load_state(detect(path).form, path).keys() == {"weight", "bias"}
    torch.save(model, path)
    assert isinstance(load_whole(detect(path).form, path, hash_file(path)), nn.Linear)


def test_weights_are_no_whole_model_and_the_other_way_round(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="holds weights alone"):
        load_whole("safetensors", tmp_path / "m")
    with pytest.raises(ModelFileError, match="is no state, but onnx"):
        load_state("onnx", tmp_path / "m")
    with pytest.raises(ModelFileError, match="is no state, but unknown"):
        load_state("unknown", tmp_path / "m")


def test_a_program_without_a_pin_is_not_read(tmp_path: Path) -> None:
    torch.save(nn.Linear(3, 2), tmp_path / "m.pt")
    with pytest.raises(ModelFileError, match="is not the file that is trusted"):
        load_whole("torch_module", tmp_path / "m.pt")
