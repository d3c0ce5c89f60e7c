"""Several sources as one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from common.config import build_choice
from common.data import Config, DataModule
from common.dataset import Dataset
from common.joining import Joined
from common.samples import BadSourceError, Samples, Source
from tests.datasets import prepare


@dataclass(frozen=True)
class Given(Source):
    """Samples that are given, one a part."""

    samples: Samples

    def parts(self) -> Iterator[int]:
        """Yield the number of each."""
        yield from range(len(self.samples.ids))

    def load(self, part: int) -> Samples:
        """Return one of them."""
        return self.samples.select(torch.tensor([part]))

    def describe(self) -> tuple[dict[str, Any], ...]:
        """Return where they come from."""
        return ({"name": f"{len(self.samples.ids)} samples"},)


NUMBERED = Samples(torch.zeros(2, 3), torch.tensor([1, 0]), torch.tensor([0, 1]), ("cat", "dog"), groups=["x", "y"])
NAMED = Samples(torch.ones(1, 3), ["dog"], ["a"])
JOINED = Joined({"old": Given(NUMBERED), "new": Given(NAMED)})


def test_ids_and_groups_begin_with_the_name_of_the_source() -> None:
    found = [JOINED.load(part) for part in JOINED.parts()]
    assert [samples.ids for samples in found] == [["old/0"], ["old/1"], ["new/a"]]
    assert [samples.groups for samples in found] == [["old/x"], ["old/y"], None]
    assert JOINED.name == "old + new"
    assert JOINED.describe() == ({"name": "2 samples"}, {"name": "1 samples"})


def test_what_one_source_does_not_know_nobody_does() -> None:
    assert JOINED.count() is None
    assert JOINED.repeats
    digits = build_choice("common.sources", Source, {"name": "digits"})
    assert Joined({"a": digits}).count() == digits.count()
    sql = build_choice("common.sources", Source, {"name": "sql", "url": "sqlite://", "query": "", "id": "x"})
    assert not Joined({"a": digits, "b": sql}).repeats


def test_classes_are_joined_by_their_labels() -> None:
    found = [JOINED.load(part) for part in JOINED.parts()]
    assert [samples.targets for samples in found] == [["dog"], ["cat"], ["dog"]]
    assert {samples.classes for samples in found} == {()}


def test_quantities_stay_as_they_are() -> None:
    joined = Joined({"a": Given(NUMBERED._replace(targets=torch.tensor([0.5, 1.5])))})
    assert [joined.load(part).targets for part in joined.parts()] == [torch.tensor([0.5]), torch.tensor([1.5])]


def test_params_join_sources_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "x,kind\n" + "".join(f"{place},{['even', 'odd'][place % 2]}\n" for place in range(50))
    )
    (tmp_path / "b.jsonl").write_text("".join(f'{{"x": {place + 0.5}, "kind": "half"}}\n' for place in range(50)))
    sources = {name: {"name": "table", "path": str(tmp_path / name), "target": "kind"} for name in ("a.csv", "b.jsonl")}
    dataset = prepare(DataModule(Config(sources=sources)))
    assert dataset.metadata.classes == ("even", "half", "odd")
    assert sum(dataset.metadata.num_samples.values()) == 100
    assert [source["name"] for source in dataset.metadata.sources] == [str(tmp_path / name) for name in sources]
    targets = torch.cat([dataset.split(name).tensors[1] for name in ("train", "valid", "test")])
    assert targets.bincount().tolist() == [25, 50, 25]


def test_sources_that_differ_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.csv").write_text("x,y\n1,2\n")
    sources = {name: {"name": "table", "path": str(tmp_path / name)} for name in ("a.csv", "b.csv")}
    with pytest.raises(BadSourceError, match=r"the inputs are x, y from sample b\.csv/0 on, x before"):
        prepare(DataModule(Config(sources=sources)))


def test_source_and_sources_together_are_refused() -> None:
    config = Config(source={"name": "digits"}, sources={"a": {"name": "digits"}})
    with pytest.raises(BadSourceError, match="set one of them to null"):
        prepare(DataModule(config))


def test_classes_of_places_are_kept_where_all_sources_have_the_same() -> None:
    masks = NUMBERED._replace(targets=torch.tensor([[0, 1, 1], [-100, 1, 0]]))
    same = Joined({"a": Given(masks), "b": Given(masks)})
    assert prepare_joined(same).metadata.classes == ("cat", "dog")
    other = Joined({"a": Given(masks), "b": Given(masks._replace(classes=("dog", "cat")))})
    with pytest.raises(BadSourceError, match=r"the classes are dog, cat from sample b/0 on, cat, dog before"):
        prepare_joined(other)


def prepare_joined(joined: Joined) -> Dataset:
    """Return what is prepared of joined sources."""

    class Module(DataModule):
        def read(self) -> Iterator[Samples]:  # type: ignore[override]
            yield from (joined.load(part) for part in joined.parts())

    return prepare(Module(Config(duplicates="allow")))
