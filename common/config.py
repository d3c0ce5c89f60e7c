"""Build the frozen config of a component from its section of the effective params.

A component's config is the dataclass called `Config` beside it, in its own module; a subclass without one
uses the config of the class that it extends.
"""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

MetricChoice = Mapping[str, Any]  # the name of a class of torchmetrics, and its arguments


def config_class(component: type) -> type[Any]:
    """Return the `Config` dataclass that stands beside a component, or beside the class it extends.

    Raises TypeError where neither the component's module nor that of an ancestor has one.
    """
    for ancestor in component.__mro__:
        candidate = getattr(sys.modules.get(ancestor.__module__), "Config", None)
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    raise TypeError(f"no dataclass 'Config' beside {component.__qualname__} or the classes it extends")


def build_config(component: type, section: Mapping[str, Any]) -> Any:
    """Return the component's config, its fields filled from `section`; lists become tuples, so that it hashes."""
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in section.items()}
    return config_class(component)(**values)
