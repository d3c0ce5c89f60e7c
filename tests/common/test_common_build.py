"""The common build, as it is committed, learns the digits."""

from pathlib import Path

import pytest
import yaml

from common.config import build_config
from common.data import DataModule
from common.engine import Engine
from common.evaluator import Evaluator
from common.loader import Loader
from common.model import ConvNet
from common.trainer import Trainer
from tests.datasets import prepare

PARAMS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())


@pytest.mark.slow
def test_common_build_reads_at_least_97_of_100_digits() -> None:
    runtime = build_config(Engine, PARAMS["runtime"])
    trainer = Trainer(build_config(Trainer, PARAMS["train"]), runtime)
    evaluator_config = build_config(Evaluator, PARAMS["evaluate"])
    dataset = prepare(DataModule(build_config(DataModule, PARAMS["data"])))
    train, valid, test = (
        Loader(dataset.split(name), build_config(Loader, PARAMS["loader"]), training=name == "train", seed=runtime.seed)
        for name in ("train", "valid", "test")
    )
    model = ConvNet(build_config(ConvNet, PARAMS["model"]), dataset.metadata)
    trainer.fit(model, train, valid)
    evaluator = Evaluator(evaluator_config, runtime)
    predictions = evaluator.evaluate(model, test)
    assert evaluator.metrics()["accuracy"].function(predictions, evaluator_config) >= 0.97
