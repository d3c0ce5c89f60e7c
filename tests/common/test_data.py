"""How samples are split and described."""

import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from common import workers
from common.data import Config, DataModule, Samples
from common.dataset import SPLITS
from common.samples import BadSourceError
from common.sources import image_folder, text
from tests.datasets import Dots, make_dataset, prepare

CONFIG = Config(valid_fraction=0.1, test_fraction=0.2)
DIGITS = Config(source={"name": "digits"})


class MoreDots(Dots):
    """The same dots and as many new ones."""

    num_samples = 2 * Dots.num_samples


class BrightDots(Dots):
    """Dots, twice as bright."""

    def transform(self, samples: Samples) -> Samples:
        """Return the samples with their inputs doubled."""
        return samples._replace(inputs=2 * samples.inputs)


def test_no_sample_moves_when_samples_are_added() -> None:
    before, after = prepare(Dots(CONFIG)), prepare(MoreDots(CONFIG))
    for name in SPLITS:
        assert set(before.split(name).tensors[2].tolist()) < set(after.split(name).tensors[2].tolist())


def test_every_sample_is_in_exactly_one_split_with_its_target() -> None:
    dataset, samples = make_dataset(), Dots(CONFIG).read()
    splits = [dataset.split(name).tensors for name in SPLITS]
    ids = torch.cat([tensors[2] for tensors in splits])
    assert sorted(ids.tolist()) == samples.ids.tolist()
    assert torch.equal(torch.cat([tensors[1] for tensors in splits]), samples.targets[ids])
    assert torch.equal(torch.cat([tensors[0] for tensors in splits]), samples.inputs[ids])


def test_transform_changes_every_split() -> None:
    plain, bright = prepare(Dots(CONFIG)), prepare(BrightDots(CONFIG))
    for name in SPLITS:
        assert torch.equal(2 * plain.split(name).tensors[0], bright.split(name).tensors[0])


def test_metadata_describes_the_train_inputs() -> None:
    dataset = make_dataset()
    values = dataset.train.tensors[0].double().flatten().tolist()
    assert dataset.metadata.statistics["mean"] == pytest.approx(statistics.fmean(values))
    assert dataset.metadata.statistics["std"] == pytest.approx(statistics.stdev(values))
    assert dataset.metadata.num_samples == {name: len(dataset.split(name)) for name in SPLITS}


def test_metadata_are_the_same_however_many_cores_add_them_up() -> None:
    before = torch.get_num_threads()
    try:
        found = []
        for num_threads in (1, 2, 4):
            torch.set_num_threads(num_threads)
            found.append(prepare(DataModule(DIGITS)).metadata)
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def write_images(folder: Path, num: int) -> dict[str, Any]:
    """Write grey images, each of its own shade; return the source that reads them."""
    for place in range(num):
        path = folder / f"images/{'ab'[place % 2]}/{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), place).save(path)
    return {"name": "image_folder", "path": str(folder / "images"), "colours": "grey"}


def test_bytes_are_the_same_whether_one_process_decodes_or_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_folder, "_NUM_IMAGES", 7)
    config = Config(source=write_images(tmp_path, 100))
    for num in (1, 3):
        monkeypatch.setattr(workers, "count_cores", lambda num=num: num)
        (tmp_path / str(num)).mkdir()
        DataModule(config).prepare(tmp_path / str(num))
    names = [path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*") if path.is_file()]
    assert len(names) == 13
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()


def test_error_of_a_process_that_decodes_is_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "_NUM_IMAGES", 7)
    monkeypatch.setattr(workers, "count_cores", lambda: 2)
    config = Config(source=write_images(tmp_path, 100))
    (tmp_path / "images/a/98.png").write_bytes(b"no image")
    with pytest.raises(BadSourceError, match=r"'a/98\.png' is no image"):
        prepare(DataModule(config))


def test_transforms_of_the_params_are_applied_and_the_last_one_fitted(tmp_path: Path) -> None:
    dataset = prepare(DataModule(Config(source=write_images(tmp_path, 100), transforms=({"name": "normalise"},))))
    assert dataset.train.tensors[0].dtype == torch.float32
    assert dataset.metadata.statistics == {"mean": pytest.approx(0, abs=1e-6), "std": pytest.approx(1)}
    assert dataset.metadata.stored_dtype == ""


def test_fitted_transform_is_refused_when_it_is_not_the_last(tmp_path: Path) -> None:
    config = Config(source={"name": "digits"}, transforms=({"name": "normalise"}, {"name": "normalise"}))
    with pytest.raises(BadSourceError, match=r"'normalise' has to be the last of data\.transforms"):
        prepare(DataModule(config))


@pytest.mark.parametrize(
    ("path", "repeats"),
    [
        ("data/flowers.csv", True),
        ("https://host/flowers.csv", False),
        (f"https://host/flowers.csv#sha256={'0' * 64}", True),
    ],
)
def test_preparation_goes_on_unless_what_it_reads_may_have_changed(path: str, repeats: bool) -> None:
    source = {"name": "table", "path": path}
    assert DataModule(Config(source=source)).repeats is repeats
    assert DataModule(Config(sources={"a": {"name": "digits"}, "b": source})).repeats is repeats
    tokenise = {"name": "tokenise", "length": 3, "vocabulary": path}
    assert DataModule(Config(source={"name": "digits"}, transforms=(tokenise,))).repeats is repeats


class Twins(Dots):
    """Dots of which the second half is the first again, under other ids."""

    def read(self) -> Samples:
        """Return all of them."""
        samples = super().read()
        return samples._replace(inputs=samples.inputs[torch.arange(self.num_samples) % 30])


def test_same_inputs_in_two_splits_are_an_error_unless_params_say_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(BadSourceError, match=r"different splits have the same inputs: \d+ \(\w+\) and \d+ \(\w+\), "):
        prepare(Twins(CONFIG))
    prepare(Twins(replace(CONFIG, duplicates="warn")))
    assert "have the same inputs" in caplog.messages[0]
    caplog.clear()
    prepare(Twins(replace(CONFIG, duplicates="allow")))
    assert caplog.messages == []


class Parts(Dots):
    """Dots that are read in parts."""

    def read(self) -> Iterator[Samples]:  # type: ignore[override]
        """Yield them one by one."""
        whole = super().read()
        for place in range(self.num_samples):
            row = torch.tensor([place])
            yield Samples(whole.inputs[row], whole.targets[row], whole.ids[row], whole.classes)  # type: ignore[index]


def test_module_may_read_in_parts() -> None:
    whole, parts = prepare(Dots(CONFIG)), prepare(Parts(CONFIG))
    for name in SPLITS:
        for ours, theirs in zip(whole.split(name).tensors, parts.split(name).tensors, strict=True):
            assert torch.equal(ours, theirs)


def test_source_must_be_given_when_a_data_module_is_written() -> None:
    with pytest.raises(BadSourceError, match="there is no source"):
        prepare(DataModule(CONFIG))


class Shares(Dots):
    """Dots in parts, of which some classes are rare."""

    def read(self) -> Iterator[Samples]:  # type: ignore[override]
        """Yield ten at a time."""
        whole = super().read()._replace(targets=(torch.arange(self.num_samples) % 10 == 0).long(), classes=("a", "b"))
        yield from (whole.select(rows) for rows in torch.arange(self.num_samples).split(10))


def test_each_class_has_its_share_when_params_say_so() -> None:
    dataset = prepare(Shares(replace(CONFIG, valid_fraction=0.25, test_fraction=0.5, stratify=True)))
    counts = {name: dataset.split(name).tensors[1].bincount().tolist() for name in SPLITS}
    assert counts == {"train": [14, 2], "valid": [13, 1], "test": [27, 3]}


def test_strata_are_those_of_images_that_processes_decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "_NUM_IMAGES", 7)
    monkeypatch.setattr(workers, "count_cores", lambda: 2)
    dataset = prepare(DataModule(Config(source=write_images(tmp_path, 100), stratify=True)))
    assert [dataset.split(name).tensors[1].bincount().tolist() for name in SPLITS] == [[35, 35], [5, 5], [10, 10]]


def test_transforms_learn_of_train_samples_alone(tmp_path: Path) -> None:
    words = "".join(f"word{place}\n" for place in range(100))
    (tmp_path / "lines.txt").write_text(words)
    source = {"name": "text", "path": str(tmp_path / "lines.txt"), "sample": "line"}
    tokenise = {"name": "tokenise", "length": 1, "max_words": 1000}
    dataset = prepare(DataModule(Config(source=source, transforms=(tokenise,), duplicates="allow")))
    assert len(dataset.metadata.transforms[0]["words"]) == len(dataset.train)
    assert sorted(dataset.train.tensors[0].flatten().tolist()) == list(range(2, 2 + len(dataset.train)))
    assert set(dataset.test.tensors[0].flatten().tolist()) == {1}


def test_transforms_of_the_metadata_do_the_same_again(tmp_path: Path) -> None:
    (tmp_path / "holes.csv").write_text(
        "a,b\n" + "".join(f"{place},{'' if place % 3 else place}\n" for place in range(60))
    )
    source = {"name": "table", "path": str(tmp_path / "holes.csv"), "missing": "keep"}
    first = prepare(DataModule(Config(source=source, transforms=({"name": "impute"}, {"name": "normalise"}))))
    again = prepare(DataModule(Config(source=source, transforms=first.metadata.transforms)))
    assert [choice["name"] for choice in first.metadata.transforms] == ["impute", "normalise"]
    assert torch.allclose(first.train.tensors[0], again.train.tensors[0], atol=1e-5)
    assert first.train.tensors[0].mean(dim=0).tolist() == pytest.approx([0, 0], abs=1e-6)


def test_images_that_look_alike_in_two_splits_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    generator = torch.Generator().manual_seed(0)
    for place in range(40):
        pixels = torch.randint(0, 200, (8, 8), generator=generator, dtype=torch.uint8)
        for name, image in (("a", pixels), ("b", pixels + place % 2 + 1)):
            path = tmp_path / f"images/{name}/{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.numpy(), "L").resize((32, 32)).save(path)
    config = Config(source={"name": "image_folder", "path": str(tmp_path / "images"), "colours": "grey"})
    prepare(DataModule(config))
    (message,) = caplog.messages
    assert message.startswith("samples of different splits look alike: ")
    pairs = [pair.split(" and ") for pair in message.partition(": ")[2].split(", ")]
    assert len(pairs) == 5
    for one, other in pairs:
        assert one.split()[0].replace("a/", "b/") == other.split()[0].replace("a/", "b/")
        assert one.split()[1] != other.split()[1]
    caplog.clear()
    prepare(DataModule(replace(config, duplicates="allow")))
    assert caplog.messages == []


def test_texts_that_are_alike_in_two_splits_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "lines.txt").write_text("".join(f"word{place // 2}{'!' * (place % 2)}\n" for place in range(60)))
    source = {"name": "text", "path": str(tmp_path / "lines.txt"), "sample": "line"}
    prepare(DataModule(Config(source=source, transforms=({"name": "tokenise", "length": 10},))))
    assert caplog.messages[0].startswith("samples of different splits look alike: lines.txt:")


class Shortening(DataModule):
    """A module that leaves the texts of its first part out, but one."""

    def transform(self, samples: Samples) -> Samples:
        """Return the lengths of texts."""
        if samples.ids[0].endswith(":1"):  # type: ignore[union-attr]
            samples = samples.select(torch.tensor([0]))
        return samples._replace(inputs=torch.tensor([[len(text)] for text in samples.inputs]))


def test_transform_may_leave_texts_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_NUM_TEXTS", 5)
    (tmp_path / "lines.txt").write_text("".join("x" * place + "\n" for place in range(1, 31)))
    config = Config(source={"name": "text", "path": str(tmp_path / "lines.txt"), "sample": "line"})
    assert sum(prepare(Shortening(config)).metadata.num_samples.values()) == 26
