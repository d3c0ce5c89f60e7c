"""What can be kept and taken back: the parts of a training that change while it runs."""

from typing import Any, Protocol


class Stateful(Protocol):
    """A part of a training that changes while it runs: the model, the optimizer …"""

    def state_dict(self) -> Any:
        """Return the state."""

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take a state back."""


class Divided(Stateful, Protocol):
    """A part of which each process has a state of its own."""

    def take_over(self, states: list[Any], *, is_first: bool) -> None:
        """Take back the states of another number of processes."""


class Kept(dict[str, Any]):
    """A state that nothing changes any more: it is written without a copy."""
