"""Files of text as sources."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.samples import BadSourceError, Samples
from common.sources import text as module
from common.sources.text import Text


def write(root: Path, texts: dict[str, str | bytes]) -> None:
    """Write files by path."""
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode() if isinstance(text, str) else text)


def read(path: Path, **options: Any) -> list[Samples]:
    """Return the samples of each part."""
    source = Text(str(path), **options)
    return [source.load(part) for part in source.parts()]


def test_a_file_is_a_sample_and_its_folder_the_class(tmp_path: Path) -> None:
    write(tmp_path, {"pos/b.txt": "good\nfilm", "neg/a.txt": "schlecht ü", "neg/notes.md": "no"})
    (samples,) = read(tmp_path)
    assert (samples.ids, samples.targets, samples.splits) == (["neg/a.txt", "pos/b.txt"], ["neg", "pos"], None)
    assert samples.inputs == ["schlecht ü", "good\nfilm"]
    assert samples.digests is not None
    assert samples.digests[1] == hashlib.sha256(b"good\nfilm").hexdigest()


def test_a_line_is_a_sample_when_params_say_so(tmp_path: Path) -> None:
    write(tmp_path, {"train/pos/a.txt": "o\u2028ne\n\n  \r\ntwo\r\n", "test/neg/b.txt": "\ufeffthree\n"})
    (samples,) = read(tmp_path, sample="line")
    assert samples.inputs == ["three", "o\u2028ne", "two"]
    assert samples.ids == ["test/neg/b.txt:1", "train/pos/a.txt:1", "train/pos/a.txt:4"]
    assert (samples.targets, samples.splits) == (["neg", "pos", "pos"], ["test", "train", "train"])


def test_lines_of_one_file_have_nothing_to_predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NUM_TEXTS", 2)
    write(tmp_path, {"poem.txt": "a\nb\nc"})
    parts = read(tmp_path / "poem.txt", sample="line")
    assert [part.inputs for part in parts] == [["a", "b"], ["c"]]
    assert parts[1].ids == ["poem.txt:3"]
    assert isinstance(parts[1].targets, torch.Tensor)
    assert parts[1].targets.shape == (1, 0)


# What is refused


@pytest.mark.parametrize("sample", ["file", "line"])
@pytest.mark.parametrize("content", [b"ok\nfine \xff", "ok\nü".encode()[:-1], b"ok\n\xe9t\xe9"])
def test_file_is_refused_when_it_is_not_utf_8(tmp_path: Path, content: bytes, sample: str) -> None:
    write(tmp_path, {"pos/a.txt": content})
    with pytest.raises(BadSourceError, match=r"^'pos/a\.txt' is not UTF-8: line 2 has the byte 0x[a-f0-9]{2}$"):
        read(tmp_path, sample=sample)


def test_folder_is_refused_when_it_is_empty_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadSourceError, match="there is no folder"):
        read(tmp_path / "none")
    with pytest.raises(BadSourceError, match=r"has no texts: wanted .*/CLASS/TEXT\.txt"):
        read(tmp_path)
    write(tmp_path, {"pos/a.txt": ""})
    with pytest.raises(BadSourceError, match="has no texts"):
        read(tmp_path, sample="line")


@pytest.mark.parametrize("sample", ["file", "line"])
def test_link_to_nowhere_is_refused(tmp_path: Path, sample: str) -> None:
    write(tmp_path, {"pos/b.txt": "b"})
    (tmp_path / "pos/a.txt").symlink_to("nowhere")
    with pytest.raises(BadSourceError, match=r"'pos/a\.txt' cannot be read: No such file or directory"):
        read(tmp_path, sample=sample)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary() | st.text().map(str.encode))
def test_any_bytes_are_refused_or_are_samples_with_different_ids(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, {"pos/a.txt": content})
    try:
        ids = [name for part in read(tmp_path, sample="line") for name in part.ids]
    except BadSourceError:
        ids = []
    assert len(set(ids)) == len(ids)
