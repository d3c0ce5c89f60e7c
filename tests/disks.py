"""Disks that have no more room."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def limit_files(num_bytes: int) -> Iterator[None]:
    """No file can be longer than a few bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
