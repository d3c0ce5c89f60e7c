"""Texts in UTF-8: .txt files in a folder per class, below train, valid and test or not; or the lines of one file."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import torch

from common.config import DataPath
from common.labelled_files import list_labelled_files, open_inside
from common.samples import BadSourceError, Samples, Source

_ENDINGS = (".txt", ".text")
_NUM_TEXTS = 1024  # files or lines that are read together

Part = list[tuple[str, str, str, str, str]]  # id, text, label, split or nothing, sha256


@dataclass(frozen=True)
class Text(Source):
    """Inputs are texts, of which `tokenise` makes numbers; ids are as pos/a.txt, or pos/a.txt:3 for a line."""

    path: DataPath
    sample: Literal["file", "line"] = "file"  # of what there is one sample each; lines without a character are none

    @property
    def name(self) -> str:
        """The name of the folder or file."""
        return Path(self.path).name

    def parts(self) -> Iterator[Part]:
        """Yield some texts, in alphabetical order of files. Raises BadSourceError where one is not UTF-8."""
        texts = self._read_texts()
        part = list(islice(texts, _NUM_TEXTS))
        if not part:
            wanted = f"wanted {self.path}/CLASS/TEXT.txt, or one file of lines"
            raise BadSourceError(f"'{self.path}' has no texts: {wanted}")
        while part:
            yield part
            part = list(islice(texts, _NUM_TEXTS))

    def load(self, part: Part) -> Samples:
        """Return the samples of some texts; those of one file have nothing to predict."""
        ids, texts, labels, splits, digests = map(list, zip(*part, strict=True))
        return Samples(
            inputs=texts,
            targets=labels if labels[0] else torch.zeros(len(texts), 0),
            ids=ids,
            splits=splits if splits[0] else None,
            digests=digests,
        )

    def _read_texts(self) -> Iterator[tuple[str, str, str, str, str]]:
        root, path = self.path, Path(self.path)
        files = list_labelled_files(root, _ENDINGS)
        if path.is_file():
            root, files = str(path.parent), iter([(path.name, "", "")])
        for name, label, split in files:
            for number, content in self._read_pieces(root, name):
                text = _decode(content, name, number or 1)
                if text.strip() or not number:
                    place = f"{name}:{number}" if number else name
                    yield place, text, label, split, hashlib.sha256(content).hexdigest()

    def _read_pieces(self, root: str, name: str) -> Iterator[tuple[int, bytes]]:
        """Yield the number and content of each line, or 0 and all."""
        if self.sample == "file":
            with open_inside(root, name) as stream:
                yield 0, stream.read()
            return
        with open_inside(root, name) as stream:
            for number, line in enumerate(stream, start=1):
                yield number, line.removesuffix(b"\n").removesuffix(b"\r")


def _decode(content: bytes, name: str, first: int) -> str:
    """Return a text that begins in line `first` of a file. Raises BadSourceError where it is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = first + content.count(b"\n", 0, error.start)
        raise BadSourceError(f"'{name}' is not UTF-8: line {line} has the byte {content[error.start]:#x}") from None
