"""A summary as JSON values."""

import json
from pathlib import Path

import torch

from common.overview import describe_summary, describe_tokens
from common.samples import Samples
from common.summary import summarise
from tests.datasets import write_samples


def test_everything_is_json_even_where_there_are_no_numbers(tmp_path: Path) -> None:
    inputs = torch.tensor([[torch.nan, 1.0], [torch.nan, torch.inf]])
    samples = Samples(inputs, torch.tensor([0.5, 1.5]), torch.arange(2), input_names=("a", "b"))
    described = describe_summary(summarise(write_samples(tmp_path / "data", samples, "tv")))
    json.dumps(described, allow_nan=False)
    first, second = described["inputs"]["measures"]
    assert first == {
        "name": "column 'a'",
        **dict.fromkeys(("min", "max", "mean", "std")),
        "num_nan": 2,
        "num_infinite": 0,
    }
    assert (second["mean"], second["num_infinite"]) == (1.0, 1)
    assert described["splits"]["valid"]["targets"][0]["mean"] == 1.5
    assert described["splits"]["test"] == {"num_samples": 0, "targets": [{**first, "name": "target", "num_nan": 0}]}


def test_most_frequent_tokens_come_first_and_bytes_are_read(tmp_path: Path) -> None:
    texts = ["abba", "ab"]
    rows = torch.tensor([[ord(letter) + 1 for letter in text.ljust(4, "\xff")] for text in texts])
    rows[rows == 256] = 0
    dataset = write_samples(tmp_path / "data", Samples(rows, ["x", "y"], torch.arange(2)))
    tokens = describe_tokens(dataset)
    assert tokens is not None
    assert tokens["most_frequent"] == [[98, 3], [99, 3]]
    assert tokens["as_bytes"] == texts
    assert tokens["first_rows"] == rows.tolist()


def test_tokens_of_a_vocabulary_are_not_read_as_bytes(tmp_path: Path) -> None:
    dataset = write_samples(tmp_path / "data", Samples(torch.tensor([[300, 2]]), ["x"], torch.arange(1)))
    tokens = describe_tokens(dataset)
    assert tokens is not None
    assert tokens["as_bytes"] == []


def test_quantities_are_no_tokens(tmp_path: Path) -> None:
    assert describe_tokens(write_samples(tmp_path / "data", Samples(torch.zeros(1, 2), ["x"], torch.arange(1)))) is None
