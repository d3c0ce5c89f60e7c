"""The tables that ship inside scikit-learn."""

from typing import get_args, get_type_hints

import pytest
import torch

from common.data import Config, DataModule
from common.sources.scikit_learn import ScikitLearn
from tests.datasets import prepare

SHAPES = {
    "iris": (150, 4, ("setosa", "versicolor", "virginica")),
    "wine": (178, 13, ("class_0", "class_1", "class_2")),
    "breast_cancer": (569, 30, ("malignant", "benign")),
}
NAMES = get_args(get_type_hints(ScikitLearn)["dataset"])


@pytest.mark.parametrize("name", SHAPES)
def test_tables_of_classes_know_them(name: str) -> None:
    samples = ScikitLearn(name).load(None)  # type: ignore[arg-type]
    num, columns, classes = SHAPES[name]
    assert (samples.inputs.shape, samples.inputs.dtype) == ((num, columns), torch.float32)
    assert isinstance(samples.targets, torch.Tensor)
    assert (samples.classes, samples.targets.unique().tolist()) == (classes, list(range(len(classes))))
    assert list(samples.ids) == list(range(num))


@pytest.mark.parametrize(
    ("name", "inputs", "targets"), [("diabetes", (442, 10), (442,)), ("linnerud", (20, 3), (20, 3))]
)
def test_tables_of_quantities_have_no_classes(name: str, inputs: tuple[int, ...], targets: tuple[int, ...]) -> None:
    samples = ScikitLearn(name).load(None)  # type: ignore[arg-type]
    assert isinstance(samples.targets, torch.Tensor)
    assert (samples.inputs.shape, samples.targets.shape, samples.targets.dtype) == (inputs, targets, torch.float32)
    assert samples.classes == ()


def test_diabetes_are_as_they_were_measured() -> None:
    assert ScikitLearn("diabetes").load(None).inputs[0, :2].tolist() == [59, 2]  # age and sex


@pytest.mark.parametrize("name", NAMES)
def test_each_becomes_a_dataset(name: str) -> None:
    metadata = prepare(
        DataModule(Config(source={"name": "scikit_learn", "dataset": name}, duplicates="allow"))
    ).metadata
    assert metadata.name == name
    (source,) = metadata.sources
    assert (source["name"], len(source["sha256"])) == (f"sklearn.datasets.load_{name}", 64)
