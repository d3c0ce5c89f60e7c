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


class Attributes:
    """The attributes of an object that are numbers, texts or None; each process has its own."""

    def __init__(self, owner: object) -> None:
        self._attributes = vars(owner)

    def state_dict(self) -> dict[str, Any]:
        """Return them."""
        return {name: v for name, v in self._attributes.items() if v is None or isinstance(v, int | float | str)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back."""
        self._attributes.update(state)

    def take_over(self, states: list[dict[str, Any]], *, is_first: bool) -> None:
        """Take back those of the first of another number of processes, which may mean something else to the others."""
        if is_first:
            self.load_state_dict(states[0])
