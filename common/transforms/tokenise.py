"""Texts become rows of whole numbers: a number for each byte of UTF-8, or for each word of a given vocabulary."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from common.config import DataPath, PositiveInt
from common.samples import BadSourceError, Samples, Transform

_PADDING, _UNKNOWN = 0, 1
_WORD = re.compile(r"\w+|[^\w\s]")  # a word, or one mark of punctuation


@dataclass(frozen=True)
class Tokenise(Transform):
    """Inputs (samples, length) int64: 0 fills up; a byte is its value + 1, so that there are 257 numbers.

    With a vocabulary, 1 is every word that it lacks, and its first line is 2.
    """

    length: PositiveInt  # of all rows; what a text has beyond is cut off
    vocabulary: DataPath | None = None  # a word a line, in UTF-8; None: bytes
    lowercase: bool = False  # before anything is looked up

    def __call__(self, samples: Samples) -> Samples:
        """Return the samples with rows in place of texts. Raises BadSourceError where inputs are no texts."""
        if isinstance(samples.inputs, torch.Tensor):
            found = f"{tuple(samples.inputs.shape[1:])} {samples.inputs.dtype}".replace("torch.", "")
            raise BadSourceError(f"'tokenise' wants texts, and the inputs are {found}")
        rows = np.full((len(samples.inputs), self.length), _PADDING, dtype=np.int64)
        for row, text in zip(rows, samples.inputs, strict=True):
            tokens = self._encode(text.lower() if self.lowercase else text)
            row[: len(tokens)] = tokens
        return samples._replace(inputs=torch.from_numpy(rows))

    def _encode(self, text: str) -> Sequence[int] | np.ndarray:
        """Return the numbers of a text, no more than `length`."""
        if self.vocabulary is None:
            content = text[: self.length].encode()[: self.length]  # a character has one byte or more
            return np.frombuffer(content, np.uint8).astype(np.int64) + 1
        places = _read_vocabulary(self.vocabulary)
        words = (match[0] for match in _WORD.finditer(text))
        return [places.get(word, _UNKNOWN) for word, _ in zip(words, range(self.length), strict=False)]


@lru_cache(maxsize=8)
def _read_vocabulary(path: str) -> Mapping[str, int]:
    """Return the number of each word. Raises BadSourceError where a line is empty, or comes twice."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadSourceError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadSourceError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error
    if not text:
        raise BadSourceError(f"{path} has no words")
    words = text.removesuffix("\n").split("\n")
    places: dict[str, int] = {}
    for line, word in enumerate(words, start=1):
        if not word.strip() or word in places:
            found = f"the word '{word}' again" if word in places else "no word"
            raise BadSourceError(f"{path} has {found} in line {line}")
        places[word] = _UNKNOWN + line
    return places
