"""Which classes an evaluation took for which."""

import csv
from collections import Counter
from pathlib import Path


def read_confusions(path: Path) -> dict[tuple[str, str], int]:
    """Return how often each (actual, predicted) class came in a confusion.csv; nothing of a file that is damaged."""
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            pairs = Counter((row["actual"], row["predicted"]) for row in csv.DictReader(file, strict=True))
            return {pair: count for pair, count in pairs.items() if None not in pair}  # as in a row that was cut off
    except (OSError, UnicodeDecodeError, csv.Error, KeyError):
        return {}


def list_mistakes(counts: dict[tuple[str, str], int]) -> list[tuple[str, str, int]]:
    """Return (actual, predicted, samples) of what was predicted wrongly, the most frequent first."""
    wrong = [(actual, predicted, count) for (actual, predicted), count in counts.items() if actual != predicted]
    return sorted(wrong, key=lambda row: (-row[2], row[:2]))
