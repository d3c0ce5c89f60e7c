"""What a built model costs to use: its size, and how long a forward pass takes. Differs from run to run."""

import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

BUDGET_S = 1.0  # for each size of batch
MAX_PASSES = 103
WARM_UP = 3  # passes that do not count, where there are more


@torch.inference_mode()
def measure_performance(model: nn.Module, inputs: Tensor) -> dict[str, Any]:
    """Return size, latencies and throughput of a model on the device where it and `inputs`, one batch, are."""
    model.eval()
    one_s, batch_s = (_measure_pass(model, part) for part in (inputs[:1], inputs))
    tensors = [*model.parameters(), *model.buffers()]
    return {
        "num_parameters": sum(tensor.numel() for tensor in model.parameters()),
        "num_trainable_parameters": sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad),
        "model_mib": sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20,
        "batch_size": len(inputs),
        "latency_ms": {"one_sample": 1000 * one_s, "one_batch": 1000 * batch_s},
        "samples_per_s": len(inputs) / batch_s,
        "device": name_device(inputs.device),
        "num_threads": torch.get_num_threads(),
    }


def name_device(device: torch.device) -> str:
    """Return what the device is called by its maker, or its architecture."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if device.type == "cpu" and info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else f"{device.type} {platform.machine()}"


def _measure_pass(model: nn.Module, inputs: Tensor) -> float:
    """Return the median of the seconds that forward passes take: at least one, until the budget is spent."""
    times: list[float] = []
    while len(times) < MAX_PASSES and sum(times) < BUDGET_S:
        started = time.perf_counter()
        model(inputs)
        if inputs.device.type != "cpu":
            torch.accelerator.synchronize(inputs.device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[WARM_UP:] or times[-1:])
