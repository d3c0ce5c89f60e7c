"""Size and speed of a model."""

import time

import pytest
import torch
from torch import Tensor, nn

from common import performance
from common.performance import MAX_PASSES, WARM_UP, measure_performance, name_device


class Counting(nn.Module):
    """Notes the sizes of the batches that it sees, and can take its time."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.linear.bias.requires_grad = False
        self.register_buffer("steps", torch.zeros(5, dtype=torch.int64))
        self.sizes: list[int] = []
        self.was_training = False

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (batch, 2)."""
        self.sizes.append(len(inputs))
        self.was_training |= self.training or torch.is_grad_enabled()
        found: Tensor = self.linear(inputs)
        return found


class Clock:
    """A clock that a test sets."""

    def __init__(self, seconds: list[float]) -> None:
        self._seconds = iter(seconds)

    def perf_counter(self) -> float:
        """Return the next time."""
        return next(self._seconds)


def test_size_counts_weights_once_and_buffers_too() -> None:
    model = Counting()
    model.tied = model.linear
    found = measure_performance(model, torch.rand(4, 3))
    assert (found["num_parameters"], found["num_trainable_parameters"]) == (8, 6)
    assert found["model_mib"] == (8 * 4 + 5 * 8) / 2**20


def test_one_sample_and_one_batch_are_measured_as_in_evaluation() -> None:
    model = Counting().train()
    found = measure_performance(model, torch.rand(4, 3))
    assert model.sizes == [1] * MAX_PASSES + [4] * MAX_PASSES
    assert not model.was_training
    assert found["batch_size"] == 4
    assert found["samples_per_s"] == pytest.approx(4000 / found["latency_ms"]["one_batch"])
    assert found["device"] == name_device(torch.device("cpu")) != ""


def test_latency_is_the_median_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(performance, "MAX_PASSES", WARM_UP + 3)
    passes = [0.1] * WARM_UP + [0.001, 0.002, 0.009]
    monkeypatch.setattr(performance, "time", Clock([t for seconds in passes * 2 for t in (0.0, seconds)]))
    assert measure_performance(Counting(), torch.rand(4, 3))["latency_ms"] == {"one_sample": 2.0, "one_batch": 2.0}


def test_measuring_ends_when_the_budget_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(performance, "time", Clock([0.0, 5.0, 0.0, 7.0]))
    model = Counting()
    assert measure_performance(model, torch.rand(4, 3))["latency_ms"] == {"one_sample": 5000.0, "one_batch": 7000.0}
    assert model.sizes == [1, 4]


@pytest.mark.gpu
def test_passes_on_a_gpu_are_waited_for() -> None:
    model = nn.Sequential(*(nn.Linear(4096, 4096, device="cuda") for _ in range(20)))
    inputs = torch.rand(4096, 4096, device="cuda")
    found = measure_performance(model, inputs)
    torch.cuda.synchronize()
    started = time.perf_counter()
    model(inputs)
    torch.cuda.synchronize()
    assert found["latency_ms"]["one_batch"] > 1000 * (time.perf_counter() - started) / 4
    assert found["device"] == torch.cuda.get_device_name()
