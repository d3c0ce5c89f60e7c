"""Each example does what its description says, on tensors that fit a page."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from common import data, engine, evaluator, loader, model
from common.architecture import DeclaredModel
from common.config import build_config
from common.data import DataModule, Samples
from common.dataset import Batch
from common.evaluator import Predictions
from common.model import ConvNet
from common.trainer import Trainer
from common.vectorising import check_trainer
from experiments.eight_seeds.model import Config as PerceptronConfig
from experiments.eight_seeds.model import Perceptron
from experiments.equalised_contrast.data import EqualisedContrast
from experiments.focal_loss.trainer import Config as FocalConfig
from experiments.focal_loss.trainer import FocalLossTrainer
from experiments.random_shifts.loader import ShiftingLoader
from experiments.residual_net.model import ResidualBlock, ResidualNet
from experiments.worst_class.evaluator import WorstClassEvaluator, worst_class_recall
from pipeline.project import Project
from tests.checkouts import ROOT
from tests.datasets import make_dataset, prepare

RUNTIME = engine.Config(device="cpu")
EASY = torch.tensor([[0.9, 0.1]]).log()
HARD = torch.tensor([[0.3, 0.7]]).log()
ZERO = torch.tensor([0])


def _focal_loss(logits: Tensor, targets: Tensor, gamma: float) -> float:
    return FocalLossTrainer(FocalConfig(gamma=gamma), RUNTIME).loss(logits, targets).item()


def _shift(inputs: Tensor, seed: int = 0) -> Tensor:
    rows = torch.arange(len(inputs))
    shifting = ShiftingLoader(
        torch.utils.data.TensorDataset(inputs, rows, rows), loader.Config(), training=True, seed=0
    )
    return shifting.transform(Batch(inputs, rows, rows), torch.Generator().manual_seed(seed)).inputs


def _equalise(inputs: Tensor) -> Tensor:
    rows = torch.arange(len(inputs))
    return EqualisedContrast(data.Config()).transform(Samples(inputs, rows, rows)).inputs


def test_focal_loss_is_cross_entropy_when_gamma_is_0() -> None:
    logits, targets = torch.randn(8, 3), torch.arange(8) % 3
    assert _focal_loss(logits, targets, 0.0) == pytest.approx(functional.cross_entropy(logits, targets).item())


def test_focal_loss_weighs_a_sample_by_how_wrong_it_is() -> None:
    for logits, miss in ((EASY, 0.1), (HARD, 0.7)):
        expected = miss**2 * functional.cross_entropy(logits, ZERO).item()
        assert _focal_loss(logits, ZERO, 2.0) == pytest.approx(expected, rel=1e-5)


def test_focal_loss_is_the_mean_over_samples() -> None:
    both = _focal_loss(torch.cat([EASY, HARD]), torch.tensor([0, 0]), 2.0)
    assert both == pytest.approx((_focal_loss(EASY, ZERO, 2.0) + _focal_loss(HARD, ZERO, 2.0)) / 2)


def test_shifts_keep_the_ink_of_centred_images() -> None:
    images = torch.zeros(64, 2, 8, 8)
    images[:, :, 1:-1, 1:-1] = torch.rand(64, 2, 6, 6)
    shifted = _shift(images)
    assert shifted.shape == images.shape
    assert torch.equal(shifted.flatten(1).sort().values, images.flatten(1).sort().values)


def test_shifts_move_a_dot_to_each_of_the_nine_places_around_it() -> None:
    images = torch.zeros(200, 1, 8, 8)
    images[:, 0, 3, 5] = 1.0
    places = {tuple(place) for place in _shift(images)[:, 0].nonzero()[:, 1:].tolist()}
    assert places == {(row, column) for row in (2, 3, 4) for column in (4, 5, 6)}


def test_shifts_leave_an_empty_border_behind() -> None:
    ink = {int(image.sum()) for image in _shift(torch.ones(200, 1, 8, 8))}
    assert ink == {64, 56, 49}


def test_shifts_are_the_same_when_the_generator_is() -> None:
    images = torch.rand(32, 1, 8, 8)
    assert torch.equal(_shift(images, seed=1), _shift(images, seed=1))
    assert not torch.equal(_shift(images, seed=1), _shift(images, seed=2))


def test_shifts_are_left_out_when_evaluating() -> None:
    split = make_dataset().test
    batches = ShiftingLoader(split, loader.Config(), training=False, seed=0).epoch(0)
    assert torch.equal(torch.cat([batch.inputs for batch in batches]), split.tensors[0])


def test_contrast_of_each_image_spans_0_to_1() -> None:
    images = torch.linspace(0.1, 0.9, 5).view(5, 1, 1, 1) * torch.rand(5, 1, 8, 8) + 0.05
    equalised = _equalise(images)
    assert equalised.amin(dim=(1, 2, 3)).tolist() == [0.0] * 5
    assert equalised.amax(dim=(1, 2, 3)).tolist() == [1.0] * 5
    assert torch.equal(equalised.flatten(1).argsort(), images.flatten(1).argsort())


def test_contrast_of_an_image_that_spans_0_to_1_stays() -> None:
    image = torch.linspace(0, 1, 64).view(1, 1, 8, 8)
    assert torch.equal(_equalise(image), image)


def test_contrast_is_finite_when_an_image_is_blank() -> None:
    assert _equalise(torch.full((1, 1, 8, 8), 0.5)).isfinite().all()


def test_equalised_digits_are_the_same_digits_in_the_same_splits() -> None:
    config = data.Config(source={"name": "digits"})
    equalised, plain = prepare(EqualisedContrast(config)), prepare(DataModule(config))
    for ours, theirs in ((equalised.train, plain.train), (equalised.test, plain.test)):
        assert torch.equal(ours.tensors[1], theirs.tensors[1])
        assert torch.equal(ours.tensors[2], theirs.tensors[2])
        assert not torch.equal(ours.tensors[0], theirs.tensors[0])


def test_declared_net_gives_a_logit_for_each_class_of_the_digits() -> None:
    metadata = prepare(DataModule(data.Config(source={"name": "digits"}))).metadata
    file = ROOT / "experiments/declared_net/model.json"
    net = DeclaredModel(build_config(DeclaredModel, {}), metadata, file)
    assert net(torch.rand(5, 1, 8, 8)).shape == (5, 10)
    assert [name for name, _ in net.named_children()] == ["features", "classifier"]


def test_residual_net_gives_a_logit_for_each_class() -> None:
    metadata = make_dataset().metadata
    assert ResidualNet(model.Config(channels=2), metadata)(torch.rand(5, 1, 4, 4)).shape == (5, 3)


def test_residual_net_has_residual_blocks_where_the_common_one_has_plain_ones() -> None:
    blocks = [
        [isinstance(layer, ResidualBlock) for layer in net(model.Config(channels=2), make_dataset().metadata).features]
        for net in (ResidualNet, ConvNet)
    ]
    assert (sum(blocks[0]), sum(blocks[1])) == (2, 0)


def test_residual_block_passes_its_input_on_when_its_convolutions_find_nothing() -> None:
    block = ResidualBlock(1, 1).eval()
    for parameter in block.inner.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.ones_(block.skip.weight)
    images = torch.rand(2, 1, 4, 4)
    assert torch.equal(block(images), functional.max_pool2d(images, 2))


def test_eight_seeds_are_of_a_model_that_can_be_trained_at_once() -> None:
    project = Project(ROOT)
    config = build_config(Trainer, project.experiments.get("eight_seeds").section("train"))
    assert config.vectorised_seeds == 8
    perceptron = Perceptron(PerceptronConfig(), make_dataset().metadata)
    assert perceptron(torch.rand(5, 1, 4, 4)).shape == (5, 3)
    check_trainer(Trainer(config, RUNTIME), perceptron)


def test_worst_class_is_the_one_found_least_often() -> None:
    # class 0: 2 of 2 found; class 1: 1 of 4 found; class 2: 1 of 1 found
    hits = torch.tensor([0, 0, 1, 2, 2, 0, 2])
    predictions = Predictions(functional.one_hot(hits).float(), torch.tensor([0, 0, 1, 1, 1, 1, 2]), torch.arange(7))
    assert worst_class_recall(predictions, evaluator.Config()) == 0.25


def test_worst_class_keeps_the_common_metrics() -> None:
    ours = WorstClassEvaluator(evaluator.Config(), RUNTIME).metrics()
    theirs = evaluator.Evaluator(evaluator.Config(), RUNTIME).metrics()
    assert {name: ours[name] for name in theirs} == theirs
    assert ours.keys() - theirs.keys() == {"worst_class_recall"}


def test_worst_class_has_a_metric_more_by_its_params_alone() -> None:
    settings = Project(ROOT).experiments.get("worst_class").section("evaluate")
    config = build_config(WorstClassEvaluator, settings)
    hits = torch.tensor([0, 0, 1, 2, 2, 0, 2])
    predictions = Predictions(functional.one_hot(hits).float(), torch.tensor([0, 0, 1, 1, 1, 1, 2]), torch.arange(7))
    macro_f1 = WorstClassEvaluator(config, RUNTIME).metrics()["macro_f1"]
    # F1 = 2 hits / (targets + predictions of the class): 4/5, 2/5 and 2/4
    assert macro_f1.function(predictions, config) == pytest.approx((4 / 5 + 2 / 5 + 2 / 4) / 3)
