"""Folders of recordings: one folder a class, below train, valid and test or not; optional: the extra `audio`."""

import hashlib
import importlib
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.config import DataPath, PositiveInt
from common.labelled_files import list_labelled_files, open_inside
from common.samples import BadSourceError, Samples, Source

_ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
_BYTE_ORDERS = {b"RIFF": "<I", b"FORM": ">I"}  # of the size in the header of WAV and AIFF
_UNKNOWN_SIZE = 2**32 - 1  # says who wrote it to a pipe
_NUM_RECORDINGS = 64  # that are decoded together

Part = list[tuple[str, str, str]]  # path in the folder, label, split or nothing


@dataclass(frozen=True)
class AudioFolder(Source):
    """Recordings become (1, length) float32 from -1 to 1, the mean of their channels; zeros fill short ones up."""

    path: DataPath
    rate: PositiveInt  # samples a second, which all recordings have to have
    length: PositiveInt  # samples of each; what a recording has beyond is cut off

    decodes = True

    @property
    def name(self) -> str:
        """The name of the folder."""
        return Path(self.path).name

    def parts(self) -> Iterator[Part]:
        """Yield some paths, labels and splits, in alphabetical order. Raises BadSourceError without any."""
        recordings = self._recordings
        if not recordings:
            raise BadSourceError(f"'{self.path}' has no recordings: wanted {self.path}/CLASS/RECORDING.wav or the like")
        for start in range(0, len(recordings), _NUM_RECORDINGS):
            yield recordings[start : start + _NUM_RECORDINGS]

    def count(self) -> int:
        """Return the number of recordings."""
        return len(self._recordings)

    @cached_property
    def _recordings(self) -> Part:
        return list(list_labelled_files(self.path, _ENDINGS))

    def load(self, part: Part) -> Samples:
        """Return some recordings, decoded. Raises BadSourceError, naming the file, where one cannot be."""
        inputs = torch.zeros(len(part), 1, self.length)
        digests = []
        for row, (name, _, _) in zip(inputs, part, strict=True):
            with open_inside(self.path, name) as stream:
                content = stream.read()
            digests.append(hashlib.sha256(content).hexdigest())
            decoded = self._decode(name, content)
            row[0, : len(decoded)] = torch.from_numpy(decoded)
        return Samples(
            inputs=inputs,
            targets=[label for _, label, _ in part],
            ids=[name for name, _, _ in part],
            splits=[split for _, _, split in part] if part[0][2] else None,
            digests=digests,
        )

    def _decode(self, name: str, content: bytes) -> np.ndarray:
        """Return (length or less,) float32."""
        soundfile = _import_soundfile()
        _check_whole(name, content)
        try:
            with soundfile.SoundFile(io.BytesIO(content)) as recording:
                if recording.samplerate != self.rate:
                    found = f"has {recording.samplerate} samples a second, wanted {self.rate}"
                    raise BadSourceError(f"'{name}' {found} (data.source.rate)")
                num = min(self.length, recording.frames)
                frames: np.ndarray = recording.read(num, "float32", always_2d=True)
        except soundfile.SoundFileRuntimeError as error:
            raise BadSourceError(f"'{name}' is no recording that can be read: {error}") from error
        if not num or len(frames) < num:
            raise BadSourceError(
                f"'{name}' holds {len(frames)} samples of {num}" if num else f"'{name}' holds no sound"
            )
        if not np.isfinite(frames).all():
            raise BadSourceError(f"'{name}' holds NaN or infinity")
        mono: np.ndarray = frames.mean(axis=1)
        return mono


def _check_whole(name: str, content: bytes) -> None:
    """Raise BadSourceError for a truncated WAV or AIFF, which libsndfile takes for a short one."""
    order = _BYTE_ORDERS.get(content[:4])
    if order is None or len(content) < 8:
        return
    (size,) = struct.unpack(order, content[4:8])
    if size != _UNKNOWN_SIZE and len(content) < size + 8:
        raise BadSourceError(f"'{name}' is truncated: it has {len(content)} bytes, and its header says {size + 8}")


def _import_soundfile() -> Any:
    try:
        return importlib.import_module("soundfile")
    except ModuleNotFoundError as error:
        raise BadSourceError("this source wants the package 'soundfile'; make extras NAMES=audio") from error
    except OSError as error:  # it has no libsndfile of its own for this machine
        raise BadSourceError(f"the package 'soundfile' does not find libsndfile: {error}") from error
