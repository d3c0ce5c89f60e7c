"""What results have to reach: the `gates` of an experiment.yaml, each a line that people can read."""

import re
from dataclasses import dataclass
from math import isfinite

PARENT = "parent"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_METRIC = r"(?P<metric>[A-Za-z_][\w.]*)"
_BOUND = re.compile(rf"{_METRIC}\s*(?P<sign>>=|<=|≥|≤|>|<)\s*(?P<number>{_NUMBER})\s*(?P<unit>%)?")
_NO_WORSE = re.compile(
    rf"{_METRIC} no worse than (?P<baseline>[A-Za-z_]\w*)"
    rf"(?: by more than (?P<number>{_NUMBER})\s*(?P<unit>points?)?)?"
)
_SIGNS = {"≥": ">=", "≤": "<="}
FORMS = "'accuracy >= 0.97', 'latency_ms.one_sample <= 5', 'accuracy no worse than parent by more than 0.2 points'"


@dataclass(frozen=True)
class Gate:
    """One of them: a metric against a number, or against a baseline."""

    text: str
    metric: str
    sign: str  # >=, <=, > or <; empty where there is a baseline
    number: float  # the bound, or how much worse than the baseline is well
    baseline: str = ""  # the parent, or an experiment
    is_percent: bool = False  # the number was given in percents, or points of them


def parse_gate(text: str) -> Gate:
    """Return what a line says. Raises ValueError, in one line.

    >>> parse_gate("accuracy ≥ 97 %")
    Gate(text='accuracy ≥ 97 %', metric='accuracy', sign='>=', number=0.97, baseline='', is_percent=True)
    >>> parse_gate("accuracy no worse than parent by more than 0.2 points").number
    0.002
    """
    if match := _BOUND.fullmatch(text.strip()):
        sign = _SIGNS.get(match["sign"], match["sign"])
        return Gate(text, match["metric"], sign, _read_number(match), is_percent=bool(match["unit"]))
    if match := _NO_WORSE.fullmatch(" ".join(text.split())):
        margin = _read_number(match) if match["number"] else 0.0
        return Gate(text, match["metric"], "", margin, match["baseline"], bool(match["unit"]))
    raise ValueError(f"'{text}' is no gate: wanted one as {FORMS}")


def _read_number(match: re.Match[str]) -> float:
    number = float(match["number"]) / (100 if match["unit"] else 1)
    if not isfinite(number):
        raise ValueError(f"'{match[0]}' is no gate: {match['number']} is not finite")
    return number
