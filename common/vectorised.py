"""Several trainings at once that differ in their seed alone: their weights are stacked, and each step updates all.

Every seed has its own initial weights, batches and best epoch, and ends with the weights of a training by itself, but
for what the order of a sum changes. What would make that untrue is refused: `common.vectorising`.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.optim import Optimizer
from torch.utils.data import TensorDataset

from common.config import OptimizerChoice
from common.dataset import Batch
from common.loader import Loader
from common.meter import Meter, Values
from common.progress import Progress
from common.stateful import Stateful
from common.tracing import trace
from common.trainer import Trainer
from common.vectorising import NotVectorisableError, check_step, check_trainer

log = logging.getLogger("force")

Weights = tuple[Tensor, ...]


def fit(trainer: Trainer, models: Sequence[nn.Module], trains: Sequence[Loader], valid: Loader) -> None:
    """Train each model, in place, on the batches of its loader; the seeds count up from the trainer's.

    The trainer's loggers hear of means over the seeds, and of standard deviations as `…_std`. Its `checkpoints` keep
    the state of all. Raises NotVectorisableError, and what `Trainer.fit` raises.
    """
    check_trainer(trainer, models[0])
    vectorised = VectorisedTrainer(trainer, models)
    vectorised.fit(Stacked(models), StackedLoader(trains), valid)


class Stacked(nn.Module):
    """The weights of several models of one class; the first dimension of each tensor counts the models."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        parameters, buffers = stack_module_state(list(models))
        self.names = tuple(parameters)
        self.buffer_names = tuple(buffers)
        self.weights = nn.ParameterList(nn.Parameter(p.detach(), p.requires_grad) for p in parameters.values())
        for index, buffer in enumerate(buffers.values()):  # a name of ours: theirs have dots
            self.register_buffer(f"buffer_{index}", buffer, persistent=False)


class Slice:
    """The weights of one of the models, by the model's own names."""

    def __init__(self, stacked: Stacked, index: int) -> None:
        self._stacked = stacked
        self._index = index

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights as they are now."""
        pairs = zip(self._stacked.names, self._stacked.weights, strict=True)
        return {name: tensor.detach()[self._index] for name, tensor in pairs}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take weights back."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])


class StackedLoader(Loader):
    """The batches of several loaders of the same samples, those with one index stacked; sizes are those of one."""

    def __init__(self, loaders: Sequence[Loader]) -> None:
        self._loaders = loaders
        first = loaders[0]
        super().__init__(TensorDataset(*first.samples), first.config, training=first.training, seed=first.seed)

    def place(self, device: torch.device, *, channels_last: bool = False) -> None:
        """Give batches on `device` from now on; one copy of the samples serves all loaders."""
        super().place(device)
        for loader in self._loaders:
            loader.device, loader._stored = self.device, self._stored

    def epoch(self, epoch: int, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """Yield the batches `start` to `stop`: (seeds, batch, …)."""
        if self._is_plain():
            yield from self._gather_all(epoch, start, len(self) if stop is None else min(stop, len(self)))
            return
        for batches in zip(*(loader.epoch(epoch, start, stop) for loader in self._loaders), strict=True):
            yield _stack(batches)

    def _is_plain(self) -> bool:
        """Say whether a batch is but rows of the stored samples: those of all seeds are then gathered at once."""
        ours = type(self._loaders[0])
        methods = ("transform", "epoch", "_gather")
        is_here = self._stored.ids.device.type == self.device.type and self.config.shuffle_window is None
        return is_here and all(getattr(ours, name) is getattr(Loader, name) for name in methods)

    def _gather_all(self, epoch: int, start: int, stop: int) -> Iterator[Batch]:
        size, count = self.config.batch_size, len(self._loaders)
        orders = torch.stack([loader.draw(epoch)[: self.num_samples] for loader in self._loaders])
        orders = orders[:, start * size : stop * size].to(self._stored.ids.device)
        for rows in torch.split(orders, size, dim=1) if start < stop else ():
            gathered = self._stored.select(rows.reshape(-1))
            yield Batch(*(tensor.view(count, -1, *tensor.shape[1:]) for tensor in gathered))


class Traced:
    """A function of weights and a batch as the operations that it comes to, traced once for each shape of a batch."""

    def __init__(self, function: Callable[[Weights, Batch], Values]) -> None:
        self._function = function
        self._names: tuple[str, ...] = ()
        self._operations: dict[tuple[torch.Size, ...], Callable[..., Sequence[Tensor]]] = {}

    def __call__(self, weights: Weights, batch: Batch) -> Values:
        """Return what the function returns, by name. Raises NotVectorisableError where it cannot be traced."""
        shapes = tuple([tensor.shape for tensor in batch])
        if shapes not in self._operations:
            self._operations[shapes] = self._trace(weights, batch)
        return dict(zip(self._names, self._operations[shapes](*weights, *batch), strict=True))

    def _trace(self, weights: Weights, batch: Batch) -> Callable[..., Sequence[Tensor]]:
        try:
            return trace(self._compute, *weights, *batch).forward
        except Exception as error:
            if "out of memory" in str(error):
                raise
            reason = " ".join(str(error).removeprefix("vmap: ").split(". ")[0].split())
            raise NotVectorisableError("this model and loss", f"vmap cannot trace them ({reason})") from error

    def _compute(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        size = len(Batch._fields)
        values = self._function(tensors[:-size], Batch(*tensors[-size:]))
        self._names = tuple(values)
        return tuple(values.values())


class VectorisedTrainer(Trainer):
    """Fits `Stacked` weights of models as another trainer, of one seed, would fit each."""

    def __init__(self, trainer: Trainer, models: Sequence[nn.Module]) -> None:
        super().__init__(replace(trainer.config, clip_norm=None), trainer.runtime)
        self._trainer = trainer
        self._models = models
        self._max_norm = trainer.config.clip_norm  # of each seed's gradients
        self._each = {trainer.runtime.seed + index: Progress() for index in range(len(models))}
        self._means: list[dict[str, float]] = [{} for _ in models]  # of the epoch, by seed
        self.checkpoints, self.loggers, self.report_s = trainer.checkpoints, trainer.loggers, trainer.report_s

    def build_optimizer(self, module: nn.Module, choice: OptimizerChoice) -> Optimizer:
        """Return the optimizer of the stacked weights: in one pass over them where the params do not say how."""
        is_open = choice["name"] in ("Adam", "AdamW") and not choice.keys() & {"foreach", "fused", "differentiable"}
        return super().build_optimizer(module, {**choice, "fused": True} if is_open else choice)

    @torch.no_grad()
    def train_step(self, batch: Batch) -> Values:
        """Update the weights of all seeds; return the mean of their losses."""
        values = self._step(self._weights, batch)
        for name, parameter in self._trained.items():
            parameter.grad = values[f"{name}.grad"].contiguous()  # as the weights are: fused optimizers want it
        self.parts[0].update()
        self._sums.add_(values["loss"], alpha=batch.ids.shape[1])
        return {"loss": values["loss"].mean()}

    @torch.no_grad()
    def validate(self, valid: Loader) -> dict[str, float]:
        """Return means and standard deviations over the seeds; keep what each of them reaches."""
        meters = [Meter() for _ in self._models]
        for index, batch in enumerate(valid.epoch(0)):
            values = self._valid(self._weights, batch)
            for place, meter in enumerate(meters):
                meter.add({name: value[place] for name, value in values.items()}, valid.share(index))
        means = [meter.means() for meter in meters]
        self._means = [{f"valid_{name}": value for name, value in each.items()} for each in means]
        return _describe(means)

    def on_epoch_start(self, epoch: int) -> None:
        """Forget the losses of the epoch before."""
        self._sums.zero_()

    def on_epoch_end(self, row: dict[str, Any]) -> None:
        """Add the mean training loss of each seed."""
        size = sum(self.steps.loader.size(index) for index in range(self.steps.end(row["epoch"])))
        losses = [{"train_loss": total / size} for total in self._sums.tolist()]
        self._means = [{**each, **loss} for each, loss in zip(self._means, losses, strict=True)]
        row |= _describe(losses)

    @torch.no_grad()
    def on_fit_end(self) -> None:
        """Give each model its weights: those of its best epoch, or the last ones."""
        for index, (seed, progress) in enumerate(self._each.items()):
            model = self._place(self._models[index])
            weights = progress.best_weights if self.config.keep == "best" else None
            weights = weights or Slice(self._stacked, index).state_dict()
            for name, parameter in model.named_parameters():
                parameter.copy_(weights[name])
            if progress.best is not None:
                log.info("seed %d: %s %.4f", seed, self.config.monitor.replace("_", " "), progress.best)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs: the losses of the epoch that is not done, too."""
        return {**super().state_dict(), "sums": self._sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        super().load_state_dict(state)
        self._sums.copy_(state["sums"])

    def _build(self, model: nn.Module, train: Loader, valid: Loader) -> None:
        super()._build(model, train, valid)
        assert isinstance(model, Stacked)
        self._stacked = model
        named = dict(zip((*model.names, *model.buffer_names), (*model.weights, *model.buffers()), strict=True))
        self._names, self._weights = tuple(named), tuple(named.values())
        self._trained = {name: tensor for name, tensor in named.items() if tensor.requires_grad}
        self._places = _list_places(self._models[0])
        self._sums = torch.zeros(len(self._models), dtype=torch.float64, device=self.device)
        self._step = Traced(vmap(self._compute_gradients))
        self._valid = Traced(vmap(self._compute_values, in_dims=(0, None)))
        self._check(train, valid)

    @torch.no_grad()
    def _check(self, train: Loader, valid: Loader) -> None:
        """Raise NotVectorisableError where the first batches show that the seeds cannot be trained at once."""
        batch = next(iter(train.epoch(1)))
        check_step(self._trainer, self._place(self._models[0]), Batch(*(tensor[0] for tensor in batch)))
        self._step(self._weights, batch)
        for batch in valid.epoch(0, 0, 1):
            self._valid(self._weights, batch)

    def _call(self, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return the outputs of one seed's model."""
        placed = {place: weights[name] for place, name in self._places.items()}
        outputs: Tensor = functional_call(self._models[0], placed, (inputs,), tie_weights=False)
        return outputs

    def _compute_gradients(self, weights: Weights, batch: Batch) -> Values:
        """Return the loss of one seed, and its gradients as `NAME.grad`."""
        named = dict(zip(self._names, weights, strict=True))
        self._models[0].train()

        def compute_loss(trained: Mapping[str, Tensor]) -> Tensor:
            with self._autocast:
                return self._trainer.loss(self._call({**named, **trained}, batch.inputs), batch.targets)

        gradients, loss = grad_and_value(compute_loss)({name: named[name] for name in self._trained})
        clipped = _clip(gradients, self._max_norm)
        return {"loss": loss, **{f"{name}.grad": gradient for name, gradient in clipped.items()}}

    def _compute_values(self, weights: Weights, batch: Batch) -> Values:
        """Return the means over a validation batch of one seed."""
        named = dict(zip(self._names, weights, strict=True))
        self._models[0].eval()
        with self._autocast:
            return self._trainer.valid_step(lambda inputs: self._call(named, inputs), batch)  # type: ignore[arg-type]

    def _compare(self, row: dict[str, Any]) -> None:
        """Find out for each seed whether the epoch is its best so far."""
        for index, (progress, means) in enumerate(zip(self._each.values(), self._means, strict=True)):
            monitored = self._read_monitored({**row, **means})
            if monitored is not None:
                progress.compare(monitored, self.config.direction, Slice(self._stacked, index))
        for part in self.parts:
            part.end_epoch(None)

    def _check_values(self) -> None:
        try:
            super()._check_values()
        except FloatingPointError as error:
            are_finite = zip(self._each, self._sums.isfinite().tolist(), strict=True)
            seeds = ", ".join(str(seed) for seed, is_finite in are_finite if not is_finite)
            raise FloatingPointError(f"seed {seeds}: {error}") from None

    def _list_stateful(self) -> dict[str, Stateful]:
        return {**super()._list_stateful(), **{f"seed {seed}": progress for seed, progress in self._each.items()}}


def _list_places(model: nn.Module) -> dict[str, str]:
    """Return place → name of each parameter and buffer; what layers share has one name, and several places."""
    names = {id(tensor): name for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    places = {}
    for prefix, module in model.named_modules():
        for list_own in (module.named_parameters, module.named_buffers):
            for key, tensor in list_own(recurse=False, remove_duplicate=False):
                places[f"{prefix}.{key}" if prefix else key] = names[id(tensor)]
    return places


def _stack(batches: Sequence[Batch]) -> Batch:
    """Return the batches of all seeds as one."""
    try:
        return Batch(*map(torch.stack, zip(*batches, strict=True)))
    except RuntimeError as error:
        shapes = ", ".join(str(tuple(batch.inputs.shape)) for batch in batches)
        raise NotVectorisableError("these batches", f"their shapes differ between seeds ({shapes})") from error


def _clip(gradients: Values, max_norm: float | None) -> Values:
    """Return gradients whose norm, all taken together, is `max_norm` at most, as `clip_grad_norm_` computes it."""
    if max_norm is None:
        return gradients
    norm = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients.values()]).norm()
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return {name: gradient * factor for name, gradient in gradients.items()}


def _describe(means: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean over the seeds of each name, and their standard deviation (n - 1) as `…_std`.

    >>> _describe([{"loss": 1.0}, {"loss": 3.0}])
    {'loss': 2.0, 'loss_std': 1.4142135623730951}
    """
    described: dict[str, float] = {}
    for name in means[0]:
        values = torch.tensor([each[name] for each in means], dtype=torch.float64)
        described |= {name: values.mean().item(), f"{name}_std": values.std().item()}
    return described
