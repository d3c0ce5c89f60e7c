"""A function of the experiment or of the lab that makes samples: params name it, and say what it is called with."""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from common.config import FunctionName, convert_arguments, list_paths, replace_argument_paths
from common.dataset import hash_file
from common.samples import BadSourceError, Samples, Source


@dataclass(frozen=True)
class Function(Source):
    """What the function returns, or yields in parts: `common.samples.Samples`."""

    call: FunctionName  # as experiments.rings.shapes:draw
    arguments: Mapping[str, Any] = field(default_factory=dict)  # by name; one of the type DataPath is a dependency

    @property
    def name(self) -> str:
        """The function."""
        return self.call

    def with_paths(self, find: Callable[[str], str]) -> Self:
        """Return the same with what `find` makes of each argument that the function calls a DataPath."""
        return replace(self, arguments=replace_argument_paths(self._import(), self.arguments, find))

    def parts(self) -> Iterator[Samples]:
        """Yield samples as the function does. Raises BadSourceError for anything else."""
        function = self._import()
        made = function(**convert_arguments(function, self.arguments))
        for samples in [made] if isinstance(made, Samples | Mapping) or not isinstance(made, Iterable) else made:
            if not isinstance(samples, Samples):
                raise BadSourceError(f"{self.call} gives {type(samples).__name__}, wanted common.samples.Samples")
            yield samples

    def load(self, part: Samples) -> Samples:
        """Return the samples as they are."""
        return part

    def describe(self) -> tuple[Mapping[str, Any], ...]:
        """Return the sha256 of each file that an argument names."""
        paths = map(Path, list_paths(self._import(), self.arguments))
        return tuple({"name": str(path), "sha256": hash_file(path)} for path in paths if path.is_file())

    def _import(self) -> Callable[..., Any]:
        module, _, name = self.call.partition(":")
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return function
