"""Datasets of the library `datasets`."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from common.data import Config, DataModule
from common.dataset import Dataset
from common.samples import BadSourceError, Samples
from common.sources import huggingface as module
from common.sources.huggingface import HuggingFace
from tests.common.test_unpacking import write
from tests.datasets import prepare

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def make_pictures(num: int = 6, size: int = 4, first: int = 0) -> Any:
    """Return a dataset of images and labels."""
    kinds = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["light", "dark"]),
            "depth": datasets.Value("float32"),
        }
    )
    pictures = [Image.new("RGB", (size, size), (first + place, 0, 0)) for place in range(num)]
    columns = {"image": pictures, "label": [place % 2 for place in range(num)], "depth": [0.5] * num}
    return datasets.Dataset.from_dict(columns, features=kinds)


def make_numbers(num: int = 6, first: int = 0) -> Any:
    """Return a dataset of numbers, texts and labels."""
    places = range(first, first + num)
    kinds = datasets.Features(
        {
            "length": datasets.Value("float32"),
            "petals": datasets.Value("int64"),
            "words": datasets.Value("string"),
            "kind": datasets.ClassLabel(names=["rose", "iris", "lily"]),
            "key": datasets.Value("string"),
        }
    )
    columns = {
        "length": [place + 0.5 for place in places],
        "petals": list(places),
        "words": [f"a flower {place}" for place in places],
        "kind": [place % 2 for place in places],
        "key": [f"k{place}" for place in places],
    }
    return datasets.Dataset.from_dict(columns, features=kinds)


def save(folder: Path, **splits: Any) -> str:
    """Write splits, or one dataset called `alone`, as the library does; return the folder."""
    (splits.get("alone") or datasets.DatasetDict(splits)).save_to_disk(str(folder))
    return str(folder)


def read(source: HuggingFace) -> list[Samples]:
    """Return all parts."""
    return [source.load(part) for part in source.parts()]


def refuse(source: HuggingFace) -> str:
    """Return why a source cannot be read."""
    with pytest.raises(BadSourceError) as caught:
        read(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def prepare_source(valid_fraction: float = 0.1, **arguments: Any) -> Dataset:
    """Return the dataset that a source becomes."""
    return prepare(DataModule(Config(source={"name": "huggingface", **arguments}, valid_fraction=valid_fraction)))


def test_columns_of_a_saved_dataset_are_inputs_and_classes(tmp_path: Path) -> None:
    source = HuggingFace(save(tmp_path / "x", alone=make_numbers()), inputs=("length", "petals"), target="kind")
    (samples,) = read(source)
    assert samples.inputs.tolist() == [[place + 0.5, place] for place in range(6)]
    assert (samples.inputs.dtype, samples.classes) == (torch.float32, ("rose", "iris", "lily"))
    assert list(samples.targets) == ["rose", "iris"] * 3
    assert isinstance(samples.ids, torch.Tensor)
    assert (samples.ids.tolist(), samples.splits) == (list(range(6)), None)


def test_splits_of_a_saved_dataset_are_ours(tmp_path: Path) -> None:
    splits = {"train": make_numbers(), "validation": make_numbers(2, 10), "test": make_numbers(3, 20)}
    dataset = prepare_source(0, path=save(tmp_path / "x", **splits), inputs="length", target="kind")
    assert dataset.metadata.num_samples == {"train": 6, "valid": 2, "test": 3}
    assert dataset.valid.tensors[0].flatten().tolist() == [10.5, 11.5]
    assert dataset.metadata.classes == ("rose", "iris", "lily")
    names = [source["name"].removeprefix(str(tmp_path)) for source in dataset.metadata.sources]
    assert "/x/train/data-00000-of-00001.arrow" in names


def test_splits_have_the_names_that_the_params_say(tmp_path: Path) -> None:
    folder = save(tmp_path / "x", big=make_numbers(), small=make_numbers(2, 10), other=make_numbers(3, 20))
    assert refuse(HuggingFace(folder, inputs="length")) == (
        "x has a split 'big': data.source.splits says which are train, valid and test of big, small, other"
    )
    splits = {"big": "train", "small": "test"}
    parts = read(HuggingFace(folder, inputs="length", splits=splits))  # type: ignore[arg-type]
    assert [part.splits for part in parts] == [["train"] * 6, ["test"] * 2]
    assert [list(part.ids)[-1] for part in parts] == ["big/5", "small/1"]
    message = refuse(HuggingFace(folder, inputs="length", splits={"bog": "train"}))
    assert message == "x has no split 'bog': there are big, small, other"


@pytest.mark.parametrize(("colours", "channels"), [("rgb", 3), ("grey", 1)])
def test_images_become_whole_numbers(tmp_path: Path, colours: Any, channels: int) -> None:
    source = HuggingFace(save(tmp_path / "x", alone=make_pictures()), target="label", colours=colours)
    (samples,) = read(source)
    assert (samples.inputs.shape, samples.inputs.dtype) == ((6, channels, 4, 4), torch.uint8)
    if colours == "rgb":
        assert samples.inputs[:, 0, 0, 0].tolist() == list(range(6))
    assert (list(samples.targets)[:2], samples.classes) == (["light", "dark"], ("light", "dark"))


def test_images_of_one_dataset_become_another_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NUM_IMAGES", 4)
    folder = save(tmp_path / "x", train=make_pictures(10), test=make_pictures(5, first=20))
    dataset = prepare_source(path=folder, target="label", size=2)
    assert (dataset.metadata.input_shape, dataset.metadata.stored_dtype) == ((3, 2, 2), "uint8")
    assert dataset.metadata.num_samples["test"] == 5


def test_images_of_several_sizes_are_refused(tmp_path: Path) -> None:
    both = datasets.concatenate_datasets([make_pictures(2), make_pictures(1, 5)])
    message = refuse(HuggingFace(save(tmp_path / "x", alone=both), target="label"))
    assert message == "images differ: 'train/0' is 4 × 4 and 'train/2' is 5 × 5; data.source.size resizes them"


def test_images_that_are_none_are_refused(tmp_path: Path) -> None:
    kinds = datasets.Features({"image": datasets.Image()})
    for content, message in (
        (b"no image", "'train/1' is no image that can be read"),
        (None, "x: row 'train/1' has no"),
    ):
        png = io.BytesIO()
        Image.new("L", (2, 2)).save(png, "png")
        pictures = [{"bytes": png.getvalue(), "path": None}, {"bytes": content, "path": None} if content else None]
        folder = save(
            tmp_path / str(content) / "x", alone=datasets.Dataset.from_dict({"image": pictures}, features=kinds)
        )
        assert refuse(HuggingFace(folder)).startswith(message)


def test_images_beside_other_columns_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "x", alone=make_pictures())
    message = refuse(HuggingFace(folder, inputs=("image", "depth"), target="label"))
    assert message == "x: 'image' holds images, which cannot be inputs beside other columns"


def test_texts_are_inputs_for_tokenise(tmp_path: Path) -> None:
    folder = save(tmp_path / "x", alone=make_numbers())
    (samples,) = read(HuggingFace(folder, inputs="words", target="kind", id="key"))
    assert samples.inputs[0] == "a flower 0"
    assert list(samples.ids) == [f"k{place}" for place in range(6)]


def test_label_that_nobody_knows_is_missing(tmp_path: Path) -> None:
    unknown = datasets.Dataset.from_dict(
        {**make_numbers(3).to_dict(), "kind": [0, -1, 1]}, features=make_numbers().features
    )
    folder = save(tmp_path / "x", alone=unknown)
    message = refuse(HuggingFace(folder, inputs="length", target="kind"))
    assert message.startswith("x, split train has no value in column 'kind' of row 1 (from 0)")
    (samples,) = read(HuggingFace(folder, inputs="length", target="kind", missing="drop"))
    assert list(samples.targets) == ["rose", "iris"]


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_files_are_read_in_parts(tmp_path: Path, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NUM_ROWS", 4)
    path = tmp_path / f"x.{kind}"
    getattr(make_numbers(10), f"to_{kind}")(str(path))
    parts = read(HuggingFace(str(path), format=kind, inputs="petals", target="key"))
    assert [len(part.ids) for part in parts] == [4, 4, 2]
    assert torch.cat([part.inputs for part in parts]).flatten().tolist() == list(range(10))
    source = {"path": str(path), "format": kind, "inputs": "petals", "target": "key"}
    assert prepare_source(**source).metadata.sources[0]["name"] == str(path)


def test_archive_of_a_saved_dataset_is_read(tmp_path: Path) -> None:
    folder = Path(save(tmp_path / "x", alone=make_numbers(40)))
    files = {f"x/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    archive = write(tmp_path / "y.tar.gz", files)
    metadata = prepare_source(path=str(archive), inputs="length", target="kind").metadata
    assert (metadata.name, sum(metadata.num_samples.values())) == ("x", 40)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "wanted one of data.source.path and data.source.repository"),
        ({"path": "x", "repository": "a/b"}, "wanted one of data.source.path and data.source.repository"),
        ({"path": "{}/none"}, "there is no '{}/none'"),
        ({"path": "{}"}, "{name} cannot be read: Directory {} is neither a `Dataset` directory nor"),
        ({"path": "{}/bad.parquet", "format": "parquet"}, "bad.parquet cannot be read: "),
        ({"path": "{}/x", "inputs": "long"}, "x, split train has no column 'long': there are length, petals, words"),
        ({"path": "{}/x"}, "x, split train: column 'words' holds string, no numbers"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    save(tmp_path / "x", alone=make_numbers())
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    arguments = {key: value.replace("{}", str(tmp_path)) for key, value in arguments.items()}
    wanted = message.replace("{name}", tmp_path.name).replace("{}", str(tmp_path))
    assert refuse(HuggingFace(**arguments)).startswith(wanted)


def test_hub_that_is_out_of_reach_is_one_line() -> None:
    program = "from common.sources.huggingface import HuggingFace; next(HuggingFace(repository='lab/flowers').parts())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("common.samples.BadSourceError: lab/flowers cannot be read: ")
    assert "HF_HUB_OFFLINE" in last or "ffline" in last
    assert last.endswith("; what `save_to_disk` wrote can be read without the hub")


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    message = refuse(HuggingFace("x"))
    assert message == "this source wants the package 'datasets'; make extras NAMES=huggingface"


def test_repository_may_change_unless_a_commit_is_named() -> None:
    assert HuggingFace(path="data/x").repeats
    assert not HuggingFace(repository="lab/x").repeats
    assert not HuggingFace(repository="lab/x", revision="main").repeats
    assert HuggingFace(repository="lab/x", revision="0123456789" * 4).repeats
