"""Folders of recordings as sources."""

import hashlib
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.samples import BadSourceError, Samples
from common.sources import audio_folder as module
from common.sources.audio_folder import AudioFolder

SOUND = np.round(np.random.default_rng(0).uniform(-0.9, 0.9, 100) * 2**15) / 2**15  # as 16 bits have it


@pytest.fixture
def soundfile() -> Any:
    """Return the package, where it is installed."""
    return pytest.importorskip("soundfile")


def write(path: Path, *channels: np.ndarray, rate: int = 8000) -> None:
    """Write a WAV file of 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.stack(channels, axis=1) * 2**15).astype("<i2").tobytes())


def load(path: Path, length: int = 100) -> Samples:
    """Return all samples, which are one part."""
    source = AudioFolder(str(path), rate=8000, length=length)
    (part,) = source.parts()
    return source.load(part)


@pytest.mark.usefixtures("soundfile")
def test_folder_is_the_class_and_the_path_the_id(tmp_path: Path) -> None:
    write(tmp_path / "train/cat/a.wav", SOUND)
    write(tmp_path / "test/dog/b.wav", SOUND, -SOUND)
    samples = load(tmp_path)
    assert (samples.ids, samples.targets) == (["test/dog/b.wav", "train/cat/a.wav"], ["dog", "cat"])
    assert samples.splits == ["test", "train"]
    assert torch.equal(samples.inputs[:, 0], torch.tensor(np.stack([0 * SOUND, SOUND]), dtype=torch.float32))
    assert samples.digests is not None
    assert samples.digests[1] == hashlib.sha256((tmp_path / "train/cat/a.wav").read_bytes()).hexdigest()


@pytest.mark.usefixtures("soundfile")
def test_recordings_are_filled_up_or_cut_off(tmp_path: Path) -> None:
    write(tmp_path / "cat/a.wav", SOUND)
    write(tmp_path / "cat/b.wav", SOUND[:10])
    inputs = load(tmp_path, length=40).inputs
    assert inputs.shape == (2, 1, 40)
    assert inputs[0, 0].tolist() == SOUND[:40].tolist()
    assert inputs[1, 0].tolist() == SOUND[:10].tolist() + [0] * 30


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        ("wav", {"subtype": "FLOAT"}),
        ("wav", {"subtype": "PCM_24"}),
        ("flac", {}),
        ("aiff", {}),
        ("ogg", {}),
        ("mp3", {}),
    ],
)
def test_recordings_of_other_kinds_are_read(
    tmp_path: Path, soundfile: Any, ending: str, options: dict[str, str]
) -> None:
    (tmp_path / "a").mkdir()
    tone = 0.5 * np.sin(np.arange(8000) / 5)
    soundfile.write(tmp_path / f"a/a.{ending}", tone, 8000, **options)
    found = load(tmp_path, length=8000).inputs[0, 0].numpy()
    assert np.abs(found - tone)[1000:7000].mean() < 0.1


@pytest.mark.usefixtures("soundfile")
def test_many_recordings_come_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NUM_RECORDINGS", 2)
    for name in "abc":
        write(tmp_path / f"x/{name}.wav", SOUND)
    source = AudioFolder(str(tmp_path), 8000, 10)
    assert [source.load(part).ids for part in source.parts()] == [["x/a.wav", "x/b.wav"], ["x/c.wav"]]
    assert source.count() == 3


# What is refused


@pytest.mark.parametrize("ending", ["wav", "flac", "aiff", "ogg", "mp3"])
def test_recording_is_refused_when_it_is_truncated(tmp_path: Path, soundfile: Any, ending: str) -> None:
    path = tmp_path / f"a/a.{ending}"
    path.parent.mkdir()
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 4000), 8000)
    content = path.read_bytes()
    for size in range(0, len(content) * 9 // 10, len(content) // 40):
        path.write_bytes(content[:size])
        with pytest.raises(BadSourceError, match=rf"'a/a\.{ending}' "):
            load(tmp_path, length=4000)


@pytest.mark.usefixtures("soundfile")
@pytest.mark.parametrize("content", [b"", b"RIFF", b"no sound", b"RIFF\xff\xff\xff\xffWAVEfmt " + b"\xff" * 60])
def test_file_is_refused_when_it_is_no_recording(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/a.wav").write_bytes(content)
    with pytest.raises(BadSourceError, match=r"^'a/a\.wav' is no recording that can be read: [^\n]*$"):
        load(tmp_path)


@pytest.mark.usefixtures("soundfile")
def test_recording_is_refused_when_it_is_silent_or_of_another_rate(tmp_path: Path) -> None:
    write(tmp_path / "a/a.wav", SOUND[:0])
    with pytest.raises(BadSourceError, match=r"'a/a\.wav' holds no sound"):
        load(tmp_path)
    write(tmp_path / "a/a.wav", SOUND, rate=44100)
    with pytest.raises(BadSourceError, match=r"'a/a\.wav' has 44100 samples a second, wanted 8000"):
        load(tmp_path)


def test_recording_is_refused_when_it_holds_nan(tmp_path: Path, soundfile: Any) -> None:
    (tmp_path / "a").mkdir()
    soundfile.write(tmp_path / "a/a.wav", np.array([0, np.nan]), 8000, subtype="FLOAT")
    with pytest.raises(BadSourceError, match=r"'a/a\.wav' holds NaN or infinity"):
        load(tmp_path)


def test_folder_is_refused_when_it_is_empty(tmp_path: Path) -> None:
    with pytest.raises(BadSourceError, match=r"has no recordings: wanted .*/CLASS/RECORDING\.wav"):
        load(tmp_path)


def test_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    write(tmp_path / "a/a.wav", SOUND)
    with pytest.raises(BadSourceError) as caught:
        load(tmp_path)
    assert str(caught.value) == "this source wants the package 'soundfile'; make extras NAMES=audio"


@pytest.mark.usefixtures("soundfile")
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_recording_is_refused_or_has_samples(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "a/a.wav"
    write(path, SOUND)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, 60), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        found = f"'a/a.wav': {tuple(load(tmp_path).inputs.shape)}"
    except BadSourceError as error:
        found = str(error)
    assert "'a/a.wav'" in found
    assert "\n" not in found
