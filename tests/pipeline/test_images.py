"""Images: the same inputs have the same digest, and nothing else has."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.images import BASE_VARIABLE, WHEELHOUSE_VARIABLE, collect_inputs, lay_out, read_build_options, read_torch

Edit = Callable[[Path], object]


def make_checkout(root: Path) -> Path:
    """Write what an image is made of, and return the wheelhouse."""
    texts = {
        "docker/train.Dockerfile": "ARG BASE=cuda\nFROM ${BASE}\n",
        "docker/train.lock": "click==8.1\n",
        "docker/cuda.lock": "torch==2.13\n",
        "docker/train.in": "# a comment\nclick\ntorch==2.13.0\n",
        "docker/force": "#!/bin/sh\n",
        "wheels/click-8.1-py3-none-any.whl": "click",
        "wheels/torch-2.13.0-cp311.whl": "torch",
    }
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root / "wheels"


def find_digest(root: Path, base: str = "") -> str:
    return collect_inputs(root, base, root / "wheels").digest


def touch(root: Path) -> None:
    os.utime(root / "docker/train.lock", (1, 1))


@pytest.mark.parametrize(
    "edit",
    [
        lambda root: (root / "docker/train.Dockerfile").write_text("FROM scratch\n"),
        lambda root: (root / "docker/train.lock").write_text("click==8.2\n"),
        lambda root: (root / "docker/cuda.lock").write_text("torch==2.14\n"),
        lambda root: (root / "docker/train.in").write_text("torch==2.14.0\n"),
        lambda root: (root / "docker/force").write_text("#!/bin/bash\n"),
        lambda root: (root / "wheels/torch-2.13.0-cp311.whl").write_text("torch for CUDA"),
        lambda root: (root / "wheels/torch-2.13.0-cp311.whl").unlink(),
        lambda root: (root / "wheels/numpy-2.0.whl").write_text("numpy"),
        lambda root: (root / "wheels/torch-2.13.0-cp311.whl").rename(root / "wheels/torch-2.13.1-cp311.whl"),
    ],
    ids=[
        "Dockerfile",
        "lock",
        "lock for CUDA",
        "torch",
        "force",
        "wheel",
        "missing wheel",
        "new wheel",
        "renamed wheel",
    ],
)
def test_digest_is_another_when_an_input_changes(tmp_path: Path, edit: Edit) -> None:
    make_checkout(tmp_path)
    before = find_digest(tmp_path)
    edit(tmp_path)
    assert find_digest(tmp_path) != before


@pytest.mark.parametrize(
    "edit",
    [
        touch,
        lambda root: (root / "docker/train.in").write_text("torch==2.13.0\n# another comment\nrich\n"),
        lambda root: (root / "docker/serve.Dockerfile").write_text("FROM scratch\n"),
        lambda root: (root / "params.yaml").write_text("model: {}\n"),
        lambda root: (root / "wheels/notes.txt").write_text("no wheel"),
        lambda root: (root / "docker").rename(root / "moved") and (root / "moved").rename(root / "docker"),
    ],
    ids=["times", "other lines of train.in", "other Dockerfile", "params", "no wheel", "moved"],
)
def test_digest_is_the_same_when_something_else_changes(tmp_path: Path, edit: Edit) -> None:
    make_checkout(tmp_path)
    before = find_digest(tmp_path)
    edit(tmp_path)
    assert find_digest(tmp_path) == before


def test_digest_is_the_same_when_the_checkout_stands_elsewhere(tmp_path: Path) -> None:
    for name in ("here", "there"):
        make_checkout(tmp_path / name)
    assert find_digest(tmp_path / "here") == find_digest(tmp_path / "there")


def test_digest_is_another_when_base_or_wheelhouse_are_named(tmp_path: Path) -> None:
    make_checkout(tmp_path)
    digests = {find_digest(tmp_path), find_digest(tmp_path, "debian"), collect_inputs(tmp_path, "", None).digest}
    assert len(digests) == 3


def test_tag_is_one_that_docker_takes(tmp_path: Path) -> None:
    inputs = collect_inputs(tmp_path, "", make_checkout(tmp_path))
    assert inputs.digest.startswith(inputs.tag)
    assert len(inputs.tag) == 16


def test_base_is_the_dockerfiles_own_when_none_is_named(tmp_path: Path) -> None:
    make_checkout(tmp_path)
    assert collect_inputs(tmp_path, "", None).arguments == {"TORCH": "torch==2.13.0"}
    assert collect_inputs(tmp_path, "debian", None).arguments == {"TORCH": "torch==2.13.0", "BASE": "debian"}


def test_every_missing_file_is_named_when_some_are(tmp_path: Path) -> None:
    make_checkout(tmp_path)
    (tmp_path / "docker/force").unlink()
    (tmp_path / "docker/train.lock").unlink()
    with pytest.raises(ConfigError) as caught:
        collect_inputs(tmp_path, "", None)
    assert [str(problem) for problem in caught.value.problems] == [
        "docker/force: no such file",
        "docker/train.lock: no such file",
    ]


@pytest.mark.parametrize("name", ["empty", "nowhere"])
def test_wheelhouse_is_refused_when_it_has_no_wheels(tmp_path: Path, name: str) -> None:
    make_checkout(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/torch.tar.gz").touch()
    with pytest.raises(ConfigError) as caught:
        collect_inputs(tmp_path, "", tmp_path / name)
    assert caught.value.message == f"{tmp_path / name}: holds no wheels"
    assert caught.value.hint.startswith("pip download ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("click\n# torch==2.13.0\ntorch>=2\n", "pins no torch"),
    ],
)
def test_image_is_refused_when_no_torch_is_pinned(tmp_path: Path, text: str | None, message: str) -> None:
    make_checkout(tmp_path)
    path = tmp_path / "docker/train.in"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_torch(tmp_path)
    assert caught.value.message == f"docker/train.in: {message}"


def test_every_input_has_its_place_when_a_context_is_laid_out(tmp_path: Path) -> None:
    wheels = make_checkout(tmp_path)
    inputs = collect_inputs(tmp_path, "", wheels)
    context = tmp_path / "context"
    assert dict(lay_out(inputs, context)) == {
        tmp_path / "docker/train.Dockerfile": context / "Dockerfile",
        tmp_path / "docker/train.lock": context / "train.lock",
        tmp_path / "docker/cuda.lock": context / "cuda.lock",
        tmp_path / "docker/force": context / "force",
        wheels / "click-8.1-py3-none-any.whl": context / "wheelhouse/click-8.1-py3-none-any.whl",
        wheels / "torch-2.13.0-cp311.whl": context / "wheelhouse/torch-2.13.0-cp311.whl",
    }


def test_build_options_are_the_environments_when_it_has_some() -> None:
    assert read_build_options({}) == ("", None)
    assert read_build_options({WHEELHOUSE_VARIABLE: "", BASE_VARIABLE: ""}) == ("", None)
    options = read_build_options({WHEELHOUSE_VARIABLE: "/wheels", BASE_VARIABLE: "debian"})
    assert options == ("debian", Path("/wheels"))
