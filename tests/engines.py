"""A Docker engine and a registry that only know which images there are, for what decides about images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.images import ImageInputs
from pipeline.tools import docker

ID = "sha256:1d"


@dataclass
class FakeEngine:
    """What `pipeline.tools.docker.Engine` says where the tests put this in its place."""

    images: set[str] = field(default_factory=set)
    pushed: dict[str, str] = field(default_factory=dict)  # reference → repository@digest
    built: list[tuple[str, str]] = field(default_factory=list)  # (reference, source)
    containers: dict[str, dict[str, str]] = field(default_factory=dict)  # name → labels

    def find_image(self, reference: str) -> str:
        """Return the id that all images have."""
        assert reference in self.images, f"nobody built {reference}"
        return ID

    def has_image(self, reference: str) -> bool:
        """Say whether an image is here."""
        return reference in self.images

    def find_pushed(self, reference: str) -> str | None:
        """Return what the registry has."""
        return self.pushed.get(reference)

    def push(self, reference: str) -> str:
        """Push an image."""
        assert reference in self.images, f"nobody built {reference}"
        self.pushed[reference] = f"{reference.rpartition(':')[0]}@{ID}"
        return self.pushed[reference]

    def build(self, inputs: ImageInputs, reference: str, source: str, say: Callable[[str], None]) -> None:
        """Build an image, as `pipeline.tools.buildkit.build_image` does."""
        say("#1 building")
        self.built.append((reference, source))
        self.images.add(reference)

    def reap(self, labels: Mapping[str, str]) -> list[str]:
        """Remove the containers with these labels."""
        found = [name for name, own in self.containers.items() if labels.items() <= own.items()]
        for name in found:
            del self.containers[name]
        return found


def use_engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """Put such an engine in the place of the real one."""
    engine = FakeEngine()
    monkeypatch.setattr(docker, "Engine", lambda: engine)
    monkeypatch.setattr("pipeline.commands.image.build_image", engine.build)
    return engine


def use_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing answer where an engine is looked for."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")


def write_image_files(root: Path) -> None:
    """Write what an image is made of."""
    (root / "docker").mkdir()
    for name in ("train.Dockerfile", "train.lock", "cuda.lock", "force"):
        (root / "docker" / name).write_text(f"the file {name}\n")
    (root / "docker/train.in").write_text("torch==2.13.0\n")
