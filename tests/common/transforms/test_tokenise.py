"""Texts that become rows of whole numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.samples import BadSourceError, Samples
from common.transforms.tokenise import Tokenise


def make(*texts: str) -> Samples:
    """Return samples that are nothing but texts."""
    return Samples(list(texts), torch.zeros(len(texts)), torch.arange(len(texts)))


def tokenise(texts: Any, **options: Any) -> Any:
    """Return the rows of texts as lists."""
    inputs = Tokenise(**options)(Samples(texts, torch.zeros(len(texts)), torch.arange(len(texts)))).inputs
    assert inputs.dtype == torch.int64
    return inputs.tolist()


def test_bytes_are_filled_up_and_cut_off() -> None:
    assert tokenise(["ab", "", "abcdef", "\0"], length=3) == [[98, 99, 0], [0, 0, 0], [98, 99, 100], [1, 0, 0]]
    assert tokenise(["AB"], length=3, lowercase=True) == [[98, 99, 0]]


@given(st.lists(st.text(), min_size=1), st.integers(1, 20))
def test_bytes_are_those_of_utf_8(texts: list[str], length: int) -> None:
    for text, row in zip(texts, tokenise(texts, length=length), strict=True):
        content = text.encode()[:length]
        assert row == [byte + 1 for byte in content] + [0] * (length - len(content))


def test_words_are_places_in_the_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("the\ncat\n!\nété\n", encoding="utf-8")
    rows = tokenise(["the cat sat!", "", "été The"], length=4, vocabulary=str(tmp_path / "words.txt"), lowercase=True)
    assert rows == [[2, 3, 1, 4], [0, 0, 0, 0], [5, 2, 0, 0]]
    assert tokenise(["The cat the cat"], length=2, vocabulary=str(tmp_path / "words.txt")) == [[1, 3]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no words"),
        (b"a\n\nb\n", "has no word in line 2"),
        (b"a\nb\na\n", "has the word 'a' again in line 3"),
        (b"a\n\xff\n", "is not UTF-8: invalid start byte at byte 2"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_vocabulary_is_refused_when(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadSourceError) as caught:
        tokenise(["a"], length=3, vocabulary=str(path))
    assert str(caught.value) == f"{path} {message}"


def test_numbers_are_refused() -> None:
    with pytest.raises(BadSourceError, match=r"^'tokenise' wants texts, and the inputs are \(4,\) float32$"):
        tokenise(torch.zeros(2, 4), length=3)


def test_most_frequent_words_of_the_train_samples_become_the_vocabulary() -> None:
    learning = Tokenise(length=4, max_words=3, lowercase=True)
    assert not learning.is_complete
    learned = learning.learn([make("b b a"), make("A c d", "D c.")])
    assert learned.is_complete
    assert learned.describe() == {
        "length": 4, "vocabulary": None, "max_words": None, "words": ("a", "b", "c"), "lowercase": True
    }  # fmt: skip
    assert learned(make("C b x")).inputs.tolist() == [[4, 3, 1, 0]]


def test_words_of_a_file_are_described(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a\nb\n")
    assert Tokenise(3, vocabulary=str(tmp_path / "words.txt")).describe()["words"] == ["a", "b"]


def test_train_samples_without_a_word_are_refused() -> None:
    with pytest.raises(BadSourceError, match="no word in the train samples"):
        Tokenise(3, max_words=3).learn([make(" ")])


def test_two_vocabularies_are_refused() -> None:
    with pytest.raises(BadSourceError, match="one of max_words and words"):
        assert Tokenise(3, max_words=3, words=("a",)).is_complete
