"""Load the model that `force model` names, whatever it stands in."""

import json
from pathlib import Path

from torch import nn

from common.config import build_config
from common.conversion import Subject
from common.dataset import Metadata, read_metadata
from common.model_files.loading import load_whole
from common.model_files.states import State, load_state
from common.model_files.whole_models import WholeModel
from common.saved_model import MODEL, build_model, load_model, take_state
from pipeline.stages.task import Task


def find_metadata(task: Task) -> Metadata | None:
    """Return what is known of the data: that which a built model is for, else what the experiment prepared."""
    folders = [Path(folder) for name in ("train", "prepare") if (folder := task.inputs.get(name))]
    return read_metadata(folders[0]) if folders else None


def load_subject(task: Task, metadata: Metadata) -> Subject:
    """Return the model with what it is built from: a built one as it is, others built for this data."""
    sha256 = task.trust.get("model", "")
    if built := task.inputs.get("train"):
        model = load_model(built, sha256)
        rebuild = json.loads((Path(built) / MODEL).read_text())
        return Subject(model, build_config(type(model), rebuild["config"]), metadata, sha256)
    config, file = task.config("model", "model"), task.files.get("model")
    model = build_model(task.component("model"), config, metadata, Path(file) if file else None, sha256)
    if task.weights:
        take_state(read_weights(task), model, Path(task.weights["path"]).name)
    return Subject(model, config, metadata, sha256, isinstance(model, WholeModel))


def load_alone(task: Task) -> nn.Module:
    """Return a model that a file holds as a whole, without knowing the data that it is for."""
    return load_whole(task.request["form"], Path(task.files["model"]), task.trust.get("model", ""))


def read_weights(task: Task) -> State:
    """Return weights by name."""
    return load_state(task.weights["form"], Path(task.weights["path"]))
