"""Texts become rows of whole numbers: a number for each byte of UTF-8, or for each word of a vocabulary."""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from common.config import DataPath, PositiveInt
from common.samples import BadSourceError, Learned, Samples

_PADDING, _UNKNOWN = 0, 1
_WORD = re.compile(r"\w+|[^\w\s]")  # a word, or one mark of punctuation


@dataclass(frozen=True)
class Tokenise(Learned):
    """Inputs (samples, length) int64: 0 fills up; a byte is its value + 1, so that there are 257 numbers.

    With a vocabulary, 1 is every word that it lacks, and its first word is 2.
    """

    length: PositiveInt  # of all rows; what a text has beyond is cut off
    vocabulary: DataPath | None = None  # a word a line, in UTF-8; None, as the next two: bytes
    max_words: PositiveInt | None = None  # as many of the most frequent words of the train samples, and no more
    words: tuple[str, ...] | None = None  # the vocabulary itself
    lowercase: bool = False  # before anything is looked up

    @property
    def is_complete(self) -> bool:
        """Say whether there is nothing to learn. Raises BadSourceError where there are two vocabularies."""
        given = [name for name in ("vocabulary", "max_words", "words") if getattr(self, name) is not None]
        if len(given) > 1:
            raise BadSourceError(f"'tokenise' takes one of {given[0]} and {given[1]}")
        return self.max_words is None

    def learn(self, parts: Iterable[Samples]) -> Self:
        """Return the transform with the most frequent words; of those that are as frequent, the first by alphabet."""
        counts = Counter(word for samples in parts for text in _read_texts(samples) for word in self._find_words(text))
        if not counts:
            raise BadSourceError("'tokenise' finds no word in the train samples")
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return dataclasses.replace(self, max_words=None, words=tuple(ranked[: self.max_words]))

    def describe(self) -> Mapping[str, Any]:
        """Return its arguments, the words of a vocabulary in a file among them."""
        words = list(self._places) if self.vocabulary is not None else self.words
        return {**dataclasses.asdict(self), "vocabulary": None, "words": words}

    def __call__(self, samples: Samples) -> Samples:
        """Return the samples with rows in place of texts. Raises BadSourceError where inputs are no texts."""
        texts = _read_texts(samples)
        rows = np.full((len(texts), self.length), _PADDING, dtype=np.int64)
        for row, text in zip(rows, texts, strict=True):
            tokens = self._encode(text)
            row[: len(tokens)] = tokens
        return samples._replace(inputs=torch.from_numpy(rows))

    @cached_property
    def _places(self) -> Mapping[str, int]:
        """The number of each word."""
        words = self.words if self.vocabulary is None else _read_vocabulary(self.vocabulary)
        return {word: _UNKNOWN + place for place, word in enumerate(words or (), start=1)}

    def _find_words(self, text: str) -> Iterator[str]:
        return (match[0] for match in _WORD.finditer(text.lower() if self.lowercase else text))

    def _encode(self, text: str) -> Sequence[int] | np.ndarray:
        """Return the numbers of a text, no more than `length`."""
        if self.vocabulary is None and self.words is None:
            text = text.lower() if self.lowercase else text
            content = text[: self.length].encode()[: self.length]  # a character has one byte or more
            return np.frombuffer(content, np.uint8).astype(np.int64) + 1
        words = zip(self._find_words(text), range(self.length), strict=False)
        return [self._places.get(word, _UNKNOWN) for word, _ in words]


def _read_texts(samples: Samples) -> Sequence[str]:
    """Return the inputs. Raises BadSourceError where they are numbers."""
    if isinstance(samples.inputs, torch.Tensor):
        found = f"{tuple(samples.inputs.shape[1:])} {samples.inputs.dtype}".replace("torch.", "")
        raise BadSourceError(f"'tokenise' wants texts, and the inputs are {found}")
    texts: Sequence[str] = samples.inputs
    return texts


def _read_vocabulary(path: str) -> list[str]:
    """Return the words, a line each. Raises BadSourceError where a line is empty, or comes twice."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadSourceError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadSourceError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error
    if not text:
        raise BadSourceError(f"{path} has no words")
    words = text.removesuffix("\n").split("\n")
    seen: set[str] = set()
    for line, word in enumerate(words, start=1):
        if not word.strip() or word in seen:
            found = f"the word '{word}' again" if word in seen else "no word"
            raise BadSourceError(f"{path} has {found} in line {line}")
        seen.add(word)
    return words
