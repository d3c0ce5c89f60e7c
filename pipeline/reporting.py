"""What the params say of how results are judged, and models described. No result depends on the section `reporting`."""

from collections.abc import Mapping
from typing import Any

SECTION = "reporting"

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "smallest_differences": {
            "type": "object",
            "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
        },
        "card": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "license": {"type": "string", "pattern": "^[A-Za-z0-9.+() -]{1,100}$"},  # as SPDX calls it
                "intended_use": {"type": "string"},
                "limitations": {"type": "string"},
            },
        },
    },
}


def find_smallest(section: Mapping[str, Any], metric: str) -> float:
    """Return the smallest difference of a metric worth caring about, in its unit; 0 where nobody said.

    >>> find_smallest({"smallest_differences": {"accuracy": 0.002}}, "accuracy")
    0.002
    """
    return float(section.get("smallest_differences", {}).get(metric, 0.0))
