"""What a model is made of, layer by layer: classes, parameters, shapes of outputs and FLOPs of one sample.

Shapes and FLOPs come from a forward pass of zeros on torch's meta device, which computes no values; a model that needs
values is run on the CPU. FLOPs are those that torch's own counter knows: matrix products, convolutions and attention, a
multiplication with its addition as two. What is done element by element is not counted.
"""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

from common.dataset import Metadata

ROOT = "(model)"  # what the model itself is called, which has no name


@dataclass(frozen=True)
class Layer:
    """A row: a layer with all that is in it, or, where its parts have rows of their own, what is left beside them."""

    name: str
    class_name: str
    outputs: tuple[tuple[int, ...], ...] | None  # shapes, with the batch of one; None where it was not called
    num_parameters: int
    num_trainable: int
    flops: int | None  # None where nothing could be run


@dataclass(frozen=True)
class LayerTable:
    """A model's layers, and their sums; a parameter that several layers share counts once, in the first."""

    layers: tuple[Layer, ...]
    num_parameters: int
    num_trainable: int
    num_bytes: int  # of parameters and buffers
    flops: int | None
    fault: str = ""  # why shapes and FLOPs are not known, in one line


@dataclass
class _Called:
    """What a forward pass showed of one module."""

    outputs: tuple[tuple[int, ...], ...] | None = None
    flops: int = 0  # without those of the modules in it


def make_sample(metadata: Metadata) -> Tensor:
    """Return a batch of one sample, zeros as a model gets them."""
    dtype = getattr(torch, metadata.input_dtype)
    return torch.zeros((1, *metadata.input_shape), dtype=torch.float32 if dtype is torch.uint8 else dtype)


def tabulate(model: nn.Module, sample: Tensor | None, depth: int) -> LayerTable:
    """Return the layers of a model as it evaluates; those deeper than `depth` are part of the one that they are in.

    Without a sample, and where the model does not take it, shapes and FLOPs stay open. Modes are left as they are.
    """
    called, fault = (None, "") if sample is None else _trace(model, sample)
    layers, seen = [], set[Any]()
    for name, module in model.named_modules():
        level = name.count(".") + 1 if name else 0
        if level > depth:
            continue
        is_whole = level == depth or not any(True for _ in module.children())
        parts = dict(module.named_modules()) if is_whole else {"": module}
        layer = _summarise(name, parts, called, seen)
        if is_whole or layer.num_parameters or layer.flops:
            layers.append(layer)
    tensors = {_find_key(t): t for t in (*model.parameters(), *model.buffers()) if not is_lazy(t)}
    return LayerTable(
        tuple(layers),
        sum(layer.num_parameters for layer in layers),
        sum(layer.num_trainable for layer in layers),
        sum(tensor.nbytes for tensor in tensors.values()),
        None if called is None else sum(found.flops for found in called.values()),
        fault,
    )


def _summarise(
    name: str, parts: Mapping[str, nn.Module], called: Mapping[str, _Called] | None, seen: set[Any]
) -> Layer:
    """Return the row of a module; `parts` are those of it that count there, by their names below it."""
    own = [p for part in parts.values() for _, p in part.named_parameters(recurse=False)]
    new = {key: p for p in own if (key := _find_key(p)) not in seen and not is_lazy(p)}
    seen.update(new)
    names = [".".join(filter(None, (name, part))) for part in parts]
    return Layer(
        name or ROOT,
        _name_class(parts[""]),
        called[name].outputs if called and name in called else None,
        sum(p.numel() for p in new.values()),
        sum(p.numel() for p in new.values() if p.requires_grad),
        None if called is None else sum(called[part].flops for part in names if part in called),
    )


def _name_class(module: nn.Module) -> str:
    return str(getattr(module, "original_name", type(module).__name__))  # TorchScript keeps the name that it had


def _find_key(tensor: Tensor) -> Any:
    """Return what two tensors have in common that are the same memory."""
    if is_lazy(tensor) or tensor.is_meta or not tensor.numel():
        return id(tensor)
    return tensor.data_ptr(), tensor.shape, tensor.stride()


def _trace(model: nn.Module, sample: Tensor) -> tuple[dict[str, _Called] | None, str]:
    """Return what a forward pass shows of each module by its name, or None and the reason."""
    try:
        return _run(_copy_to_meta(model), sample.to("meta")), ""
    except Exception:  # a model that reads values, or makes tensors on the CPU
        pass
    try:
        return _run(model, sample), ""
    except Exception as error:  # whatever the model's own code raises
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        return None, f"{type(error).__name__}: {said}"


def _copy_to_meta(model: nn.Module) -> nn.Module:
    """Return a copy of a model without values; the weights are never copied."""
    tensors = [*model.parameters(), *model.buffers()]
    memo: dict[int, Any] = {}
    for tensor in tensors:
        blank = tensor.detach().to("meta")
        memo[id(tensor)] = nn.Parameter(blank, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else blank
    return copy.deepcopy(model, memo)


def _run(model: nn.Module, sample: Tensor) -> dict[str, _Called]:
    called: dict[str, _Called] = {}
    modes = {module: module.training for module in model.modules()}
    try:
        with _count_all(), torch.random.fork_rng(devices=[]), FlopCounterMode(display=False) as counter:
            for module in modes:
                module.training = False  # `eval` would do the same, and programs refuse it
            with _watch(model, counter, called) as run:
                run(sample)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return called


@contextmanager
def _count_all() -> Iterator[None]:
    """Keep torch from computing several layers as one, whose FLOPs its counter does not know."""
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            warnings.simplefilter("ignore")  # what torch says of the GPUs that it was not built for
            with torch.backends.mkldnn.flags(enabled=False):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)


@contextmanager
def _watch(
    model: nn.Module, counter: FlopCounterMode, called: dict[str, _Called]
) -> Iterator[Callable[[Tensor], None]]:
    """Give what runs a model, and notes what each module gives and the FLOPs that it does outside of those in it."""
    stack: list[str] = []
    counted = 0

    def settle() -> None:
        nonlocal counted
        total = counter.get_total_flops()
        if stack:
            called[stack[-1]].flops += total - counted
        counted = total

    def enter(name: str) -> None:
        settle()
        called.setdefault(name, _Called())
        stack.append(name)

    def leave(name: str, outputs: Any) -> None:
        settle()
        stack.pop()
        called[name].outputs = called[name].outputs or tuple(_list_shapes(outputs))

    def run(sample: Tensor) -> None:
        enter("")
        leave("", model(sample))

    handles = []
    for name, module in model.named_modules():
        if not name or isinstance(module, torch.jit.ScriptModule):
            continue  # a program calls its parts without telling
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: enter(name)))
        handles.append(module.register_forward_hook(lambda *args, name=name: leave(name, args[2])))
    try:
        yield run
    finally:
        for handle in handles:
            handle.remove()


def _list_shapes(value: Any) -> Iterator[tuple[int, ...]]:
    if isinstance(value, Tensor):
        yield tuple(value.shape)
    elif isinstance(value, Mapping):
        yield from _list_shapes(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _list_shapes(part)
    elif is_dataclass(value):
        yield from _list_shapes(list(vars(value).values()))
