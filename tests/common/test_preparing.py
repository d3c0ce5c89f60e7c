"""A preparation that was killed goes on to the byte, wherever that was."""

import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from common import dataset_writer, workers
from common.data import Config, DataModule, Samples
from common.dataset import SPLITS, read_dataset
from common.part_states import PartStates
from common.samples import Source
from common.sources import image_folder
from common.sources.image_folder import ImageFolder, Part
from tests.disks import limit_files
from tests.processes import Child

NUM_PARTS, NUM_SAMPLES = 9, 7
CONFIG = Config(transforms=({"name": "normalise"},), valid_fraction=0.2, test_fraction=0.2)


def kill_group() -> None:
    """Kill this process and all that it started."""
    os.killpg(0, signal.SIGKILL)


class Letters(DataModule):
    """Samples that need all that a writer keeps: labels in no order, ids that are texts, digests, inputs to be fitted.

    Killed before it yields the part `fatal`.
    """

    fatal = -1

    def read(self) -> Iterator[Samples]:
        """Yield them in parts."""
        for part in range(NUM_PARTS):
            if part == self.fatal:
                kill_group()
            generator = torch.Generator().manual_seed(part)
            inputs = torch.rand(NUM_SAMPLES, 3, 5, generator=generator) + part
            labels = [f"{(NUM_PARTS - part + place) % 5} of five" for place in range(NUM_SAMPLES)]
            ids = [f"{part}/{place}" for place in range(NUM_SAMPLES)]
            yield Samples(inputs, labels, ids, digests=[name.upper() for name in ids])


class EagerStates(PartStates):
    """Keeps every state, at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, period_s=0)
        self.written: list[Mapping[str, Any]] = []

    def is_due(self) -> bool:
        """Say that it is."""
        return True

    def write(self, state: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Write it, and wait."""
        super().write(state, descriptors)
        self.wait()
        self.written.append(state)


class FatalStates(EagerStates):
    """Is killed before or after it keeps that all is settled."""

    def __init__(self, path: Path, *, after: bool) -> None:
        super().__init__(path)
        self._after = after

    def write(self, state: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Write it, or not."""
        if state["is_settled"] and not self._after:
            kill_group()
        super().write(state, descriptors)
        if state["is_settled"]:
            kill_group()


def prepare(module: DataModule, folder: Path, states: PartStates | None = None) -> None:
    """Prepare into `folder`, which may be there."""
    folder.mkdir(parents=True, exist_ok=True)
    module.prepare(folder, states or EagerStates(folder.with_name("state.json")))


def prepare_fatally(begin: Callable[[], None], folder: Path, part: int) -> None:
    """Be killed before a part."""
    module = Letters(CONFIG)
    module.fatal = part
    begin()
    prepare(module, folder)


def settle_fatally(begin: Callable[[], None], folder: Path, after: bool) -> None:
    """Be killed before or after the state that all is settled."""
    begin()
    prepare(Letters(CONFIG), folder, FatalStates(folder.with_name("state.json"), after=after))


def replace_fatally(begin: Callable[[], None], folder: Path, num: int) -> None:
    """Be killed when so many files have got their last form."""
    replace = os.replace
    done = []

    def replace_some(source: Path, target: Path) -> None:
        if source.name.endswith(dataset_writer._NEW):
            if len(done) == num:
                kill_group()
            done.append(target)
        replace(source, target)

    os.replace = replace_some  # type: ignore[assignment]  # of a process that ends by it
    begin()
    prepare(Letters(CONFIG), folder)


def hash_fatally(begin: Callable[[], None], folder: Path) -> None:
    """Be killed when all files but the metadata are there."""
    dataset_writer.hash_file = lambda path: kill_group() or ""  # of a process that ends by it
    begin()
    prepare(Letters(CONFIG), folder)


def run_killed(target: Callable[..., None], *args: Any) -> None:
    """Run in a process that is killed."""
    child = Child(target, *args)
    child.wait_until_begun()
    assert child.kill_after(None)


def read_all(folder: Path) -> dict[str, bytes]:
    """Return all files of a dataset, which are those that it has to have."""
    read_dataset(folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a preparation that keeps no state."""
    folder = tmp_path_factory.mktemp("wanted")
    Letters(CONFIG).prepare(folder)
    found = read_all(folder)
    assert len(found) == 13
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a dataset is prepared."""
    return tmp_path / "work" / "data"


@pytest.mark.parametrize("parts", [[0], [1], [4], [NUM_PARTS - 1], [1, 1, 3, 8]])
def test_bytes_are_the_same_when_it_was_killed_at(
    folder: Path, wanted: dict[str, bytes], caplog: pytest.LogCaptureFixture, parts: list[int]
) -> None:
    folder.mkdir(parents=True)
    for part in parts:
        run_killed(prepare_fatally, folder, part)
    caplog.set_level(logging.INFO)
    prepare(Letters(CONFIG), folder)
    assert read_all(folder) == wanted
    said = [f"the preparation was interrupted: it continues at sample {parts[-1] * NUM_SAMPLES}"]
    assert caplog.messages == (said if parts[-1] else [])


@pytest.mark.parametrize(
    ("target", "args", "is_settled"),
    [
        (settle_fatally, [False], False),
        (settle_fatally, [True], True),
        (replace_fatally, [0], True),
        (replace_fatally, [2], True),
        (replace_fatally, [5], True),
        (hash_fatally, [], True),
    ],
)
def test_bytes_are_the_same_when_it_was_killed_after_the_last_part(
    folder: Path, wanted: dict[str, bytes], target: Callable[..., None], args: list[Any], is_settled: bool
) -> None:
    folder.mkdir(parents=True)
    run_killed(target, folder, *args)
    if is_settled:
        run_killed(hash_fatally, folder)  # goes on with what was settled, and is killed again
    found = PartStates(folder.with_name("state.json")).read()
    assert found
    assert (found["num_parts"], found["is_settled"]) == (NUM_PARTS, is_settled)
    states = EagerStates(folder.with_name("state.json"))
    prepare(Letters(CONFIG), folder, states)
    assert [state["num_parts"] for state in states.written] == ([] if is_settled else [NUM_PARTS])
    assert read_all(folder) == wanted


class Shades(DataModule):
    """Images in parts of seven; killed when a process is to be given the part `fatal`."""

    fatal = -1

    @cached_property
    def source(self) -> Source:
        """Return the images."""
        assert self.config.source
        images = FatalImages(self.config.source["path"], colours="grey")
        object.__setattr__(images, "fatal", self.fatal)
        return images


class FatalImages(ImageFolder):
    """Images that are found until a part is fatal."""

    fatal = -1

    def parts(self) -> Iterator[Part]:
        """Yield them."""
        for place, part in enumerate(super().parts()):
            if place == self.fatal:
                kill_group()
            yield part


def decode(begin: Callable[[], None], folder: Path, images: Path, part: int) -> None:
    """Prepare images by three processes."""
    image_folder._NUM_IMAGES = 7
    workers.count_cores = lambda: 3
    module = Shades(Config(source={"name": "image_folder", "path": str(images)}))
    module.fatal = part
    begin()
    prepare(module, folder)


def test_bytes_are_the_same_when_processes_that_decode_were_killed(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for place in range(140):
        path = tmp_path / f"images/{'ab'[place % 2]}/{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), place).save(path)
    monkeypatch.setattr(image_folder, "_NUM_IMAGES", 7)
    module = Shades(Config(source={"name": "image_folder", "path": str(tmp_path / "images")}))
    prepare(module, tmp_path / "whole/data")
    folder.mkdir(parents=True)
    run_killed(decode, folder, tmp_path / "images", 12)
    states = PartStates(folder.with_name("state.json"))
    found = states.read()
    assert found
    assert 0 < found["num_parts"] < 12
    caplog.set_level(logging.INFO)
    prepare(module, folder)
    assert caplog.messages == [f"the preparation was interrupted: it continues at sample {found['num_read']}"]
    assert read_all(folder) == read_all(tmp_path / "whole/data")


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a preparation left that was killed."""
    folder = tmp_path_factory.mktemp("left") / "data"
    folder.mkdir()
    run_killed(prepare_fatally, folder, 6)
    return folder.parent


def shorten(path: Path) -> None:
    """Cut off the end of a file."""
    path.write_bytes(path.read_bytes()[:-5])


def flip(path: Path) -> None:
    """Change a bit."""
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "name", "reason"),
    [
        (shorten, "state.json", "it is truncated or damaged"),
        (flip, "state.json", "it is truncated or damaged"),
        (shorten, "data/train/inputs.safetensors", "inputs.safetensors ends before byte"),
        (shorten, "data/test/names.jsonl", "names.jsonl ends before byte"),
        (Path.unlink, "data/valid/targets.safetensors", "No such file or directory"),
        (Path.unlink, "train.fingerprints", "No such file or directory"),
    ],
)
def test_it_starts_anew_and_says_so_when_what_was_left_is_damaged(
    left: Path,
    folder: Path,
    wanted: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    name: str,
    reason: str,
) -> None:
    shutil.copytree(left, folder.parent)
    damage(folder.parent / name)
    prepare(Letters(CONFIG), folder)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("what an earlier preparation left is not used: ")
    assert reason in caplog.messages[0]
    assert read_all(folder) == wanted


def test_it_starts_anew_when_there_is_no_state_beside_what_was_left(
    left: Path, folder: Path, wanted: dict[str, bytes]
) -> None:
    shutil.copytree(left, folder.parent)
    folder.with_name("state.json").unlink()
    prepare(Letters(CONFIG), folder)
    assert read_all(folder) == wanted


class SlowStates(PartStates):
    """Is not done with a state before somebody waits for it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, period_s=0)
        self._may_end = threading.Event()

    def wait(self) -> None:
        """Let it be done."""
        self._may_end.set()
        super().wait()
        self._may_end.clear()

    def _write(self, *args: Any) -> None:
        self._may_end.wait()
        super()._write(*args)


def test_bytes_are_the_same_when_a_state_is_still_written_as_the_last_part_is_done(
    folder: Path, wanted: dict[str, bytes]
) -> None:
    states = SlowStates(folder.with_name("state.json"))
    prepare(Letters(CONFIG), folder, states)
    assert states.newest
    assert states.newest["is_settled"]
    assert read_all(folder) == wanted


def test_short_preparation_writes_no_state(folder: Path, wanted: dict[str, bytes]) -> None:
    prepare(Letters(CONFIG), folder, PartStates(folder.with_name("state.json")))
    assert not folder.with_name("state.json").exists()
    assert read_all(folder) == wanted


def test_no_more_than_what_is_recorded_stays_when_the_disk_is_full(folder: Path, wanted: dict[str, bytes]) -> None:
    states = EagerStates(folder.with_name("state.json"))
    with limit_files(4096 + 1000), pytest.raises(OSError, match="File too large"):
        prepare(Letters(CONFIG), folder, states)
    (newest,) = states.written[-1:]
    assert 0 < newest["num_parts"] < NUM_PARTS
    for name in SPLITS:
        size = (folder / name / "inputs.safetensors").stat().st_size
        assert size == 4096 + newest["num_rows"][name] * 15 * 4
    prepare(Letters(CONFIG), folder)
    assert read_all(folder) == wanted


def test_nothing_stays_when_the_disk_is_full_before_anything_is_recorded(folder: Path) -> None:
    with limit_files(4096 + 100), pytest.raises(OSError, match="File too large"):
        prepare(Letters(CONFIG), folder, PartStates(folder.with_name("state.json")))
    assert not list(folder.iterdir())
    assert [path.name for path in folder.parent.iterdir()] == ["data"]


def test_what_is_read_is_reported_with_how_much_there_is(tmp_path: Path) -> None:
    heard: list[tuple[int, int | None]] = []
    Letters(CONFIG).prepare(tmp_path, report=lambda *numbers: heard.append(numbers))
    assert heard == [(NUM_SAMPLES * part, None) for part in range(1, NUM_PARTS + 1)]
