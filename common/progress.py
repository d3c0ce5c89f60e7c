"""Where a training is, and what it has found so far."""

import copy
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from common.meter import Meter
from common.stateful import Kept, Stateful

_ROUNDING = 1e-6  # relative: numbers that differ by less are equal, as a mean of floats depends on who adds them


@dataclass
class Progress:
    """The position, the history, and the weights of the best epoch."""

    epoch: int = 0  # epochs done
    batch: int = 0  # batches done of the next one
    step: int = 0  # steps done
    rows: list[dict[str, Any]] = field(default_factory=list)
    best: float | None = None  # of what is monitored
    best_weights: dict[str, Any] | None = None
    num_stale: int = 0  # epochs since the best one
    meter: Meter = field(default_factory=Meter)  # of the epoch that is not done

    def end_epoch(self, row: dict[str, Any]) -> None:
        """Add the row of an epoch that is done."""
        self.rows.append(row)
        self.epoch, self.batch, self.meter = self.epoch + 1, 0, Meter()

    def compare(self, value: float, mode: Literal["max", "min"], weights: Stateful) -> None:
        """Keep the weights where no epoch was better, of equals the longest trained; what is no number never is."""
        sign = 1 if mode == "max" else -1
        is_equal = self.best is not None and math.isclose(value, self.best, rel_tol=_ROUNDING)
        if value == value and (self.best is None or is_equal or sign * value > sign * self.best):
            self.num_stale = self.num_stale + 1 if is_equal else 0
            self.best = value
            self.best_weights = Kept({name: _copy(member) for name, member in weights.state_dict().items()})
        else:
            self.num_stale += 1

    def state_dict(self) -> dict[str, Any]:
        """Return all of it, the meter apart: each process has its own."""
        state = {**vars(self), "rows": list(self.rows)}
        del state["meter"]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state back."""
        vars(self).update(state)
        if self.best_weights is not None:
            self.best_weights = Kept(self.best_weights)


def _copy(member: Any) -> Any:
    """Return a member of a state on the CPU; it may be no tensor."""
    return member.detach().to("cpu", copy=True) if isinstance(member, torch.Tensor) else copy.deepcopy(member)
