"""Trainings by several processes, against the same training by one."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, partialmethod
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from common import data, loader
from common.dataset import Batch
from common.loader import Loader
from common.loggers import Loggers
from common.meter import Values
from common.parallel import find_processes, synchronise_batch_norm
from common.roles import Role
from common.trainer import Trainer
from tests.datasets import make_dataset, make_loader
from tests.together import run_together
from tests.trainings import (
    History,
    Killed,
    Notes,
    Weights,
    copy_weights,
    is_equal,
    make_net,
    make_trainer,
    open_checkpoints,
)

PLAIN = {"name": "SGD", "lr": 0.03}
MOMENTUM = {"name": "SGD", "lr": 0.03, "momentum": 0.9}
ADAM = {"name": "AdamW", "lr": 0.003, "eps": 1e-3}  # an eps above the noise of gradients that are next to nothing


class SeenTrainer(Trainer):
    """Notes which samples count in training and in validation."""

    def on_fit_start(self) -> None:
        """Begin."""
        self.trained: list[int] = []
        self.validated: list[int] = []
        self.place = 0

    def train_step(self, batch: Batch) -> Values:
        """Note the samples of a batch, unless it counts for nothing."""
        if self.steps.loader.share(self.progress.batch):
            self.trained += batch.ids.tolist()
        return super().train_step(batch)

    def validate(self, valid: Loader) -> dict[str, float]:
        """Note the samples of the batches that count."""
        for index, batch in enumerate(valid.epoch(0)):
            self.validated += batch.ids.tolist() if valid.share(index) else []
        return super().validate(valid)


class NamingTrainer(Trainer):
    """Has more to tell than the loss, some of it from a layer that the loss does not reach."""

    def compute_loss(self, model: nn.Module, batch: Batch, role: str) -> Values:
        """Return the loss, and what it is not computed from."""
        loss = self.loss(model(batch.inputs), batch.targets)
        values = {"idle": model.get_submodule("idle")(batch.inputs.flatten(1)).mean(), "loss": loss}
        return {**values, "first": batch.ids.float().mean()} if self.progress.step % 2 else values


class GanTrainer(Trainer):
    """Two parts whose losses go through each other."""

    def compute_loss(self, model: nn.Module, batch: Batch, role: str) -> Tensor:
        """Return the loss of one of them."""
        maker, judge = model.get_submodule("maker"), model.get_submodule("judge")
        made = maker(batch.inputs)
        if role == "judge":
            return nn.functional.softplus(-judge(batch.inputs)).mean() + nn.functional.softplus(judge(made)).mean()
        return nn.functional.softplus(-judge(made)).mean()

    def valid_step(self, model: nn.Module, batch: Batch) -> Values:
        """Return how far off the maker is."""
        return {"loss": nn.functional.mse_loss(model.get_submodule("maker")(batch.inputs), batch.inputs)}


class StoppedTrainer(Trainer):
    """Is killed after a step, and keeps its state at every one."""

    agree_steps, report_s = 1, 0.0
    killed_at = (-1,)  # no number: that would be resumed

    def on_step_end(self, step: int) -> None:
        """End the process."""
        if step in self.killed_at:
            raise Killed


class ThawingTrainer(SeenTrainer):
    """Trains a part that is frozen at first."""

    def build_optimizer(self, module: nn.Module, choice: Any) -> Optimizer:
        """Return an optimizer of all parameters."""
        return SGD(module.parameters(), lr=0.03)

    def on_epoch_start(self, epoch: int) -> None:
        """Freeze the first layers, or thaw them."""
        self.model.get_submodule("features").requires_grad_(epoch > 1)


class RankTrainer(Trainer):
    """Says who it is."""

    def on_epoch_end(self, row: dict[str, Any]) -> None:
        """Add the rank, which falls in the first process alone."""
        row["rank"] = find_processes().rank * row["epoch"] - row["epoch"]


class Gan(nn.Module):
    """An image becomes another one, and a judgement of it; both have batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.maker = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))
        self.judge = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 1))


class Tied(nn.Module):
    """A list of layers, and two that share their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 5)
        self.layers = nn.ModuleList([nn.Linear(5, 5), nn.Linear(5, 5)])
        self.back = nn.Linear(5, 16)
        self.again = nn.Linear(16, 5)
        self.again.weight = self.first.weight
        self.last = nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits."""
        hidden = self.first(inputs.flatten(1))
        for layer in self.layers:
            hidden = torch.tanh(layer(hidden))
        logits: Tensor = self.last(self.again(self.back(hidden)))
        return logits


def make_mlp() -> nn.Module:
    """Return a network in which each sample is on its own."""
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))


class Partly(nn.Module):
    """Has a layer that no loss reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.used = make_mlp()
        self.idle = nn.Linear(16, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.used(inputs)
        return logits


def make_uneven() -> nn.Module:
    """Return a network that begins otherwise in each process; the first one's counts."""
    net = make_net()
    for tensor in net.state_dict().values():
        tensor += find_processes().rank
    return net


def make_thawing() -> nn.Module:
    """Return a network whose first layers are frozen."""
    net = make_net()
    net.features.requires_grad_(False)
    return net


@dataclass(frozen=True)
class Case:
    """A training."""

    config: dict[str, Any] = field(default_factory=dict)
    loader: dict[str, Any] = field(default_factory=dict)
    net: Callable[[], nn.Module] = make_mlp
    trainer: type[Trainer] = SeenTrainer
    valid_fraction: float = 0.15
    tolerance: float = 1e-4


@dataclass(frozen=True)
class Fitted:
    """What a process has when it is done."""

    weights: Weights
    rows: History
    trained: list[int]
    validated: list[int]


CASES = {
    "adam": Case({"optimizer": ADAM, "scheduler": {"name": "CosineAnnealingLR"}, "warmup_steps": 2}),
    "batch norm": Case({"optimizer": MOMENTUM}, net=make_net),
    "accumulated": Case({"optimizer": PLAIN, "accumulate": 3}, {"batch_size": 6}, make_net),
    "one sample left": Case({"optimizer": PLAIN}, {"batch_size": 23}, make_net),
    "one sample left when accumulated": Case({"optimizer": PLAIN, "accumulate": 2}, {"batch_size": 23}, make_net),
    "last batch left out": Case({"optimizer": PLAIN}, {"batch_size": 20, "drop_last": True}),
    "uneven validation": Case({"optimizer": PLAIN}, net=make_net, valid_fraction=0.3),
    "steps": Case({"optimizer": PLAIN, "epochs": None, "steps": 7, "accumulate": 2}, {"batch_size": 5}),
    "clipped": Case({"optimizer": MOMENTUM, "clip_norm": 0.05}, net=make_net),
    "frozen part": Case({"optimizer": PLAIN, "roles": {"features": Role(frozen=True)}}, net=make_net),
    "plateau": Case({"optimizer": PLAIN, "scheduler": {"name": "ReduceLROnPlateau", "patience": 0}}, net=make_net),
    "thawed part": Case({}, net=make_thawing, trainer=ThawingTrainer),
    "uneven start": Case({"optimizer": PLAIN}, net=make_uneven),
    "half precision": Case({"optimizer": PLAIN, "precision": "fp16"}, tolerance=5e-3),
    "unused layer": Case({"optimizer": ADAM}, net=Partly, trainer=NamingTrainer),
}
ONLY_REPLICAS = {
    "average": Case({"optimizer": PLAIN, "ema_decay": 0.8}, net=make_net),
    "parts": Case(
        {
            "optimizer": PLAIN,
            "monitor": "valid_loss",
            "mode": "min",
            "roles": {"maker": Role(every=2), "judge": Role()},
        },
        net=Gan,
        trainer=GanTrainer,
    ),
    "parts accumulated": Case(
        {
            **{"optimizer": MOMENTUM, "accumulate": 2, "keep": "last", "monitor": "valid_loss"},
            "roles": {"maker": Role(), "judge": Role(every=2, clip_norm=0.1)},
        },
        {"batch_size": 9},
        Gan,
        GanTrainer,
    ),
}
ONLY_SHARES = {"shared weights": Case({"optimizer": MOMENTUM}, net=Tied)}


def _fit(case: Case, **config: Any) -> Fitted:
    dataset = make_dataset(data.Config(valid_fraction=case.valid_fraction))
    trainer, notes = make_trainer(case.trainer, **{**case.config, **config}), Notes()
    settings = {"batch_size": 16, **case.loader}
    train = Loader(dataset.train, loader.Config(**settings), training=True, seed=0)
    valid = Loader(dataset.valid, loader.Config(batch_size=4), training=False, seed=0)
    trainer.loggers = Loggers([notes])
    whole = trainer.fit(case.net(), train, valid)
    weights = copy_weights(whole) if find_processes().is_first or "parallel" not in config else {}
    return Fitted(weights, notes.rows, getattr(trainer, "trained", []), getattr(trainer, "validated", []))


def _fit_traced(case: Case) -> Fitted:
    """Train a model that is compiled as far as tracing goes: what is generated of that is one process's affair."""
    with patch.object(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager")):
        return _fit(case, compile="on")


def _fit_all(cases: dict[str, Case], config: dict[str, Any]) -> dict[str, Fitted]:
    return {name: _fit(case, **config) for name, case in cases.items()}


@pytest.fixture(scope="module")
def alone() -> dict[str, Fitted]:
    """What one process comes to."""
    return _fit_all({**CASES, **ONLY_REPLICAS, **ONLY_SHARES}, {})


@pytest.fixture(scope="module", params=[pytest.param(2, marks=pytest.mark.slow), 3])
def replicas(request: pytest.FixtureRequest) -> list[dict[str, Fitted]]:
    """What each of several processes comes to, by rank."""
    return run_together(request.param, _fit_all, {**CASES, **ONLY_REPLICAS}, {})


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def shards(request: pytest.FixtureRequest) -> list[dict[str, Fitted]]:
    """The same, of processes with a share of the model each."""
    return run_together(request.param, _fit_all, {**CASES, **ONLY_SHARES}, {"parallel": "fsdp"})


def _check_near(ours: Fitted, whole: Fitted, tolerance: float = 1e-4) -> None:
    assert ours.rows == [pytest.approx(row, rel=tolerance, abs=1e-6) for row in whole.rows]
    assert ours.weights.keys() == whole.weights.keys()
    for name, tensor in whole.weights.items():
        torch.testing.assert_close(ours.weights[name], tensor, rtol=tolerance, atol=tolerance / 100)


@pytest.mark.parametrize("name", [*CASES, *ONLY_REPLICAS])
def test_several_processes_come_to_the_result_of_one(
    name: str, alone: dict[str, Fitted], replicas: list[dict[str, Fitted]]
) -> None:
    for fitted in replicas:
        _check_near(fitted[name], alone[name], {**CASES, **ONLY_REPLICAS}[name].tolerance)
    assert all(is_equal(fitted[name].weights, replicas[0][name].weights) for fitted in replicas)


@pytest.mark.parametrize("name", [*CASES, *ONLY_SHARES])
def test_processes_with_a_share_of_the_model_come_to_the_result_of_one(
    name: str, alone: dict[str, Fitted], shards: list[dict[str, Fitted]]
) -> None:
    _check_near(shards[0][name], alone[name], {**CASES, **ONLY_SHARES}[name].tolerance)
    assert {type(tensor) for tensor in shards[0][name].weights.values()} == {Tensor}
    assert all(fitted[name].rows == shards[0][name].rows for fitted in shards)


@pytest.mark.gpu
def test_several_processes_on_one_gpu_come_to_the_result_of_one() -> None:
    cases = {**CASES, **ONLY_REPLICAS}
    whole = _fit_all(cases, {"device": "cuda"})
    for fitted in run_together(3, _fit_all, cases, {"device": "cuda"}):
        for name, case in cases.items():
            _check_near(fitted[name], whole[name], 10 * case.tolerance)


@pytest.mark.slow
def test_compiled_model_is_trained_as_one_that_is_not(alone: dict[str, Fitted]) -> None:
    for fitted in run_together(2, _fit_traced, CASES["batch norm"]):
        _check_near(fitted, alone["batch norm"], tolerance=1e-3)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.trainer is SeenTrainer])
def test_no_sample_is_lost_or_seen_twice(
    name: str, alone: dict[str, Fitted], replicas: list[dict[str, Fitted]]
) -> None:
    for kind in ("trained", "validated"):
        whole = Counter(getattr(alone[name], kind))
        assert whole
        assert sum((Counter(getattr(fitted[name], kind)) for fitted in replicas), Counter()) == whole


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "1d": (lambda: nn.BatchNorm1d(3), (7, 3)),
    "1d of sequences": (lambda: nn.BatchNorm1d(3), (7, 3, 5)),
    "2d": (lambda: nn.BatchNorm2d(3, eps=0.1, momentum=0.4), (7, 3, 2, 4)),
    "3d": (lambda: nn.BatchNorm3d(3, affine=False), (7, 3, 2, 4, 2)),
    "cumulative": (lambda: nn.BatchNorm2d(3, momentum=None), (7, 3, 2, 4)),
    "without statistics": (lambda: nn.BatchNorm2d(3, track_running_stats=False), (7, 3, 2, 4)),
}
SHARES = {"even": [range(3), range(3, 7)], "uneven": [range(1), range(1, 2), range(2, 7)], "idle": [range(7), range(0)]}


def _normalise(name: str, rows: range) -> dict[str, Tensor]:
    """Train a layer twice on these rows of a batch; return what it gave for them, gradients, and its statistics."""
    build, shape = LAYERS[name]
    torch.manual_seed(1)
    layer, inputs, factors = build().double(), torch.randn(shape).double() * 3 + 5, torch.randn(shape).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    if find_processes().num > 1:
        (synchronised,) = synchronise_batch_norm(nn.Sequential(layer), torch.device("cpu"))
        synchronised.is_idle = not rows
    share = inputs[list(rows) or [0]].requires_grad_()
    for _ in range(2):
        outputs = layer(share)
        (outputs * factors[list(rows) or [0]] * bool(rows)).sum().backward()
    assert share.grad is not None
    gradients = {f"gradient of {name}": p.grad for name, p in layer.named_parameters() if p.grad is not None}
    return {
        "outputs": outputs.detach()[: len(rows)],
        "inputs": share.grad[: len(rows)],
        **gradients,
        **copy_weights(layer),
    }


def _normalise_shares(shares: list[range]) -> dict[str, dict[str, Tensor]]:
    return {name: _normalise(name, shares[find_processes().rank]) for name in LAYERS}


@pytest.mark.parametrize("division", SHARES)
def test_batch_norm_is_that_of_the_whole_batch(division: str) -> None:
    shares = SHARES[division]
    results = run_together(len(shares), _normalise_shares, shares)
    for name in LAYERS:
        whole = _normalise(name, range(7))
        assert whole.keys() >= {"outputs", "inputs"}
        for key, expected in whole.items():
            parts = [result[name][key] for result in results]
            if key in ("outputs", "inputs"):
                found = torch.cat(parts)
            else:
                found = torch.stack(parts).sum(0) if key.startswith("gradient") else parts[-1]
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def _normalise_one_value() -> None:
    layer = nn.BatchNorm1d(3)
    (synchronised,) = synchronise_batch_norm(nn.Sequential(layer), torch.device("cpu"))
    synchronised.is_idle = not find_processes().is_first
    layer(torch.ones(1, 3))


def test_batch_norm_of_a_single_value_is_refused() -> None:
    with pytest.raises(ValueError, match="batch norm needs more than one value of each channel"):
        run_together(2, _normalise_one_value)


class OwnNorm(nn.BatchNorm2d):
    """Does as it likes."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs."""
        return inputs


def test_batch_norm_that_computes_by_itself_is_left_alone_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    net = nn.Sequential(OwnNorm(3), nn.BatchNorm2d(3))
    assert synchronise_batch_norm(net, torch.device("cpu")) == [net[1]]
    assert type(net[0]) is OwnNorm
    assert caplog.messages == ["0 is a batch norm of its own: each process normalises by its share of a batch"]


class Trained(NamedTuple):
    """What a process has, and has said."""

    weights: Weights
    rows: History
    messages: list[str]


@contextmanager
def _listen() -> Iterator[list[str]]:
    """Collect what is logged."""
    messages: list[str] = []
    log, handler = logging.getLogger("force"), logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield messages
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def _train(folder: Path | None, killed_at: int, dropout: float, config: dict[str, Any]) -> Trained:
    """Train with the state in a folder, until the processes are killed."""
    dataset, notes = make_dataset(), Notes()
    trainer = make_trainer(StoppedTrainer, **{"epochs": 4, "optimizer": ADAM, "accumulate": 2, **config})
    assert isinstance(trainer, StoppedTrainer)
    trainer.killed_at = (killed_at,)
    trainer.loggers = Loggers([notes])
    checkpoints = open_checkpoints(trainer, folder, minutes=0.0).checkpoints if folder else None
    train = Loader(dataset.train, loader.Config(batch_size=6), training=True, seed=0)
    with _listen() as messages:
        try:
            net = trainer.fit(make_net(dropout), train, make_loader(dataset.valid))
        except Killed:
            net = nn.Identity()
        finally:
            if checkpoints:
                checkpoints.wait()
    return Trained(copy_weights(net) if find_processes().is_first else {}, notes.rows, messages)


def _train_together(num: int, *args: Any) -> Trained:
    """Return what the first process has."""
    result: Trained = run_together(num, _train, *args)[0] if num > 1 else _train(*args)
    return result


@pytest.mark.parametrize("kind", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_training_that_was_killed_within_an_epoch_comes_to_the_same_bits(tmp_path: Path, kind: str) -> None:
    config = {"parallel": kind, "monitor": "valid_loss", "mode": "min", "scheduler": {"name": "CosineAnnealingLR"}}
    whole = _train_together(2, None, -1, 0.5, config)
    assert len(whole.rows) == 4
    _train_together(2, tmp_path, 6, 0.5, config)
    resumed = _train_together(2, tmp_path, -1, 0.5, config)
    assert "resumed after step 5 from fit-1-step-5.pt" in resumed.messages
    assert resumed.rows == whole.rows
    assert is_equal(resumed.weights, whole.weights)


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("ddp", 2, 3),
        ("ddp", 3, 1),
        pytest.param("ddp", 1, 3, marks=pytest.mark.slow),
        pytest.param("fsdp", 1, 2, marks=pytest.mark.slow),
        pytest.param("fsdp", 2, 3, marks=pytest.mark.slow),
        pytest.param("fsdp", 3, 1, marks=pytest.mark.slow),
    ],
)
def test_training_that_was_killed_can_be_resumed_by_another_number_of_processes(
    tmp_path: Path, kind: str, before: int, after: int
) -> None:
    whole, config = _train(None, -1, 0.0, {}), {"parallel": kind}
    _train_together(before, tmp_path, 6, 0.0, config)
    _train_together(after, tmp_path, 10, 0.0, config)
    resumed = _train_together(after, tmp_path, -1, 0.0, config)
    doubt = f"{before} processes wrote a checkpoint, and {after} resumed it: the last bits may differ"
    assert resumed.messages[:2] == ["resumed after step 9 from fit-1-step-9.pt", doubt]  # said by the second one, too
    assert resumed.rows == [pytest.approx(row, rel=1e-3, abs=1e-5) for row in whole.rows]
    for name, tensor in whole.weights.items():
        torch.testing.assert_close(resumed.weights[name], tensor, rtol=1e-3, atol=1e-5)


def _fit_ranks(config: dict[str, Any]) -> Fitted:
    return _fit(Case({"monitor": "rank", "mode": "max", "patience": 1}, trainer=RankTrainer), **config)


def test_all_processes_go_by_what_the_first_one_says_of_an_epoch() -> None:
    first, second = run_together(2, _fit_ranks, {"epochs": 3})
    assert [row["rank"] for row in first.rows] == [-1, -2]
    assert first.rows == second.rows


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (Case({}, {"batch_size": 1}), "loader.batch_size is 1, and there are 2 processes: raise it"),
        (ONLY_REPLICAS["parts"], "train.parallel is fsdp, which cannot train the parts of train.roles apart: ddp can"),
        (
            Case({"ema_decay": 0.9, "compile": "on"}),
            "train.parallel is fsdp, which does not go with train.ema_decay and train.compile: ddp does",
        ),
        (Case({"channels_last": True}), "does not go with train.channels_last: ddp does"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(case: Case, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_together(2, partial(_fit, case, parallel="fsdp"))
