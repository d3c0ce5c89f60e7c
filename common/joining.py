"""Several sources as one: the ids of each begin with the name that it has."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from common.samples import Samples, Source


@dataclass(frozen=True)
class Joined(Source):
    """All samples of all sources, in their order; sample 3 of `a` is `a/3`. Classes of the same label are one.

    Where places in samples have classes, as pixels do, all sources have to have the same ones in the same order.
    """

    sources: Mapping[str, Source]

    @property
    def name(self) -> str:
        """The names of all."""
        return " + ".join(self.sources)

    @property
    def decodes(self) -> bool:  # type: ignore[override]
        """Say whether one of them wants processes."""
        return any(source.decodes for source in self.sources.values())

    @property
    def repeats(self) -> bool:  # type: ignore[override]
        """Say whether all of them give the same parts again."""
        return all(source.repeats for source in self.sources.values())

    def count(self) -> int | None:
        """Return the number of samples of all, None where one does not know."""
        counts = [source.count() for source in self.sources.values()]
        return None if None in counts else sum(filter(None, counts))

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Yield the name of a source and one of its parts."""
        for name, source in self.sources.items():
            yield from ((name, part) for part in source.parts())

    def load(self, part: tuple[str, Any]) -> Samples:
        """Return the samples of a part, under the name of their source."""
        name, inner = part
        samples = self.sources[name].load(inner)
        ids = samples.ids.tolist() if isinstance(samples.ids, Tensor) else samples.ids
        return samples._replace(
            targets=_name_targets(samples),
            ids=[f"{name}/{each}" for each in ids],
            classes=samples.classes if _has_places(samples) else (),  # of labels, another source may have more
            groups=samples.groups and [f"{name}/{group}" for group in samples.groups],
        )

    def describe(self) -> tuple[Mapping[str, Any], ...]:
        """Return what was read of each source."""
        return tuple(entry for source in self.sources.values() for entry in source.describe())


def _has_places(samples: Samples) -> bool:
    """Say whether places in samples have classes."""
    return isinstance(samples.targets, Tensor) and samples.targets.ndim > 1 and not samples.targets.is_floating_point()


def _name_targets(samples: Samples) -> Tensor | Sequence[str]:
    """Return labels in place of class indices: the same number may be another class elsewhere."""
    targets = samples.targets
    if not isinstance(targets, Tensor) or targets.ndim != 1 or targets.is_floating_point():
        return targets
    return [samples.classes[index] if samples.classes else str(index) for index in targets.tolist()]
