"""Devices, seeds and the loop over batches."""

import os
import random
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.dataset import Batch
from common.engine import Config, Engine, choose_device, seed_everything
from common.meter import Meter, Values
from tests.checkouts import ROOT
from tests.datasets import make_dataset, make_loader

RUNTIME = Config(device="cpu")


class Corner(nn.Module):
    """Returns four pixels of the image as logits, and notes whether it was called as if training."""

    was_training = False

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (batch, 4)."""
        self.was_training |= self.training
        return inputs[:, 0, :2, :2].flatten(1)


def _draw(seed: int) -> list[float]:
    seed_everything(Config(seed=seed))
    return [random.random(), float(np.random.rand()), torch.rand(1).item()]


def test_device_is_the_one_named() -> None:
    assert choose_device("cpu") == torch.device("cpu")


def test_gpu_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"runtime.device is cuda, and torch finds no GPU here: set it to auto"):
        choose_device("cuda")


def test_device_is_one_that_computes_when_auto() -> None:
    device = choose_device("auto")
    assert torch.ones(2, device=device).sum().item() == 2
    assert (device.type == "cuda") == torch.cuda.is_available()


def test_every_generator_repeats_when_seeded_alike() -> None:
    assert _draw(5) == _draw(5)
    assert all(ours != theirs for ours, theirs in zip(_draw(5), _draw(6), strict=True))


@pytest.mark.parametrize(("num_threads", "deterministic"), [(1, True), (3, False)])
def test_torch_is_set_up_as_the_params_say(num_threads: int, deterministic: bool) -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        Engine(Config(device="cpu", num_threads=num_threads, deterministic=deterministic))
        assert torch.get_num_threads() == num_threads
        assert torch.are_deterministic_algorithms_enabled() is deterministic
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=True)


@pytest.mark.parametrize(("deterministic", "expected"), [(True, ":4096:8"), (False, "")])
def test_matrix_products_on_a_gpu_repeat_when_the_params_say_so(
    monkeypatch: pytest.MonkeyPatch, deterministic: bool, expected: str
) -> None:
    monkeypatch.setattr(os, "environ", {})
    seed_everything(Config(deterministic=deterministic))
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG", "") == expected
    seed_everything(Config())


@pytest.mark.parametrize(("environment", "is_kept"), [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False)])
def test_memory_of_one_step_serves_the_next_unless_the_environment_says_how(
    environment: dict[str, str], is_kept: bool
) -> None:
    lines = """
        import resource, torch
        from common.engine import keep_freed_memory
        keep_freed_memory()
        def step():
            for num_values in (10_000, 100_000, 1_000_000, 5_000_000):
                torch.ones(num_values)
        def count():
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        step()
        before = count()
        for _ in range(10):
            step()
        print(count() - before)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(lines)],
        env={"PATH": os.environ["PATH"], **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    # Pages: 60,000 where they are asked for again, 5,000 where the largest tensor once finds its place taken.
    assert (int(ran.stdout) < 30_000) == is_kept


def test_predictions_keep_targets_and_ids_with_their_logits() -> None:
    split = make_dataset().train
    logits, targets, ids = Engine(RUNTIME).predict(Corner(), make_loader(split, batch_size=7))
    assert torch.equal(logits, split.tensors[0][:, 0, :2, :2].flatten(1))
    assert torch.equal(targets, split.tensors[1])
    assert torch.equal(ids, split.tensors[2])


def test_predicting_neither_trains_nor_keeps_gradients() -> None:
    model = nn.Sequential(Corner(), nn.Linear(4, 3))
    logits, _, _ = Engine(RUNTIME).predict(model, make_loader(make_dataset().test))
    assert not logits.requires_grad
    assert not model[0].was_training


def test_loop_calls_a_step_for_each_batch_and_weighs_what_it_returns() -> None:
    batches, seen = make_loader(make_dataset().train, batch_size=20), list[int]()

    def step(batch: Batch) -> Values:
        seen.extend(batch.ids.tolist())
        return {"size": torch.tensor(float(len(batch.ids)))}

    meter = Engine(RUNTIME).run_epoch(batches, step, epoch=1)
    assert seen == make_dataset().train.tensors[2].tolist()
    assert meter.means() == {"size": pytest.approx((20**2 + 20**2 + 7**2) / 47)}


def test_loop_goes_on_where_it_was() -> None:
    batches = make_loader(make_dataset().train, training=True, batch_size=20)
    whole, halves = Meter(), Meter()

    def step(batch: Batch) -> Values:
        return {"first": batch.ids[0].float()}

    Engine(RUNTIME).run_epoch(batches, step, 1, meter=whole)
    for start, stop in ((0, 1), (1, None)):
        assert Engine(RUNTIME).run_epoch(batches, step, 1, start, stop, halves) is halves
    assert halves.means() == whole.means()
    assert halves.sizes == [20, 20, 7]


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_forward_pass_computes_in_the_precision(precision: Any, dtype: torch.dtype) -> None:
    layer = nn.Linear(3, 2)
    with Engine(RUNTIME).autocast(precision):
        assert layer(torch.ones(1, 3)).dtype == dtype
    assert layer(torch.ones(1, 3)).dtype == layer.weight.dtype == torch.float32


def test_size_of_a_batch_is_named_when_predicting_takes_too_much_memory() -> None:
    class Hungry(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.zeros(2**50)

    with pytest.raises(MemoryError, match=r"cpu memory is too small for batches of \d+: lower loader.batch_size$"):
        Engine(Config(device="cpu")).predict(Hungry(), make_loader(make_dataset().valid))
