"""`force image`: an image is built once for what goes into it, and pushed once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.images import collect_inputs
from tests.checkouts import Checkout, Ended
from tests.engines import ID, FakeEngine, use_engine, use_no_engine, write_image_files

Force = Callable[..., Ended]


@pytest.fixture
def tag(checkout: Checkout) -> str:
    """The tag of the image of the checkout, which has all files for it."""
    write_image_files(checkout.root)
    return collect_inputs(checkout.root, "", None).tag


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """An engine without images."""
    return use_engine(monkeypatch)


def test_image_has_a_name_when_no_engine_is_there(tag: str, force: Force, monkeypatch: pytest.MonkeyPatch) -> None:
    use_no_engine(monkeypatch)
    assert force("image", "tag") == Ended(0, f"force-build/train:{tag}\n", "")


@pytest.mark.parametrize("registry", ["ghcr.io/Octo-Lab/Stages", "ghcr.io/octo-lab/stages/"])
def test_name_is_one_that_a_registry_takes_when_there_is_one(tag: str, force: Force, registry: str) -> None:
    assert force("image", "tag", "--registry", registry).out == f"ghcr.io/octo-lab/stages:{tag}\n"


def test_options_are_the_environments_when_none_are_given(
    tag: str, checkout: Checkout, force: Force, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheelhouse = checkout.root / "wheels"
    checkout.write("wheels/torch.whl", "torch")
    for name, value in {"BASE_IMAGE": "debian", "WHEELHOUSE": str(wheelhouse), "REGISTRY": "lab/stages"}.items():
        monkeypatch.setenv(f"FORCE_{name}", value)
    expected = collect_inputs(checkout.root, "debian", wheelhouse).tag
    assert expected != tag
    assert force("image", "tag").out == f"lab/stages:{expected}\n"


def test_image_is_built_once_when_it_stays_on_this_machine(tag: str, force: Force, engine: FakeEngine) -> None:
    assert force("image", "build") == Ended(0, f"{ID}\n", "#1 building\n")
    assert force("image", "build") == Ended(0, f"{ID}\n", "")
    assert engine.built == [(f"force-build/train:{tag}", "")]
    assert engine.pushed == {}


def test_image_says_whether_it_is_new_when_programs_ask(
    tag: str, checkout: Checkout, force: Force, engine: FakeEngine
) -> None:
    digest = collect_inputs(checkout.root, "", None).digest
    expected = {"image": ID, "is_new": True, "digest": digest}
    assert json.loads(force("image", "build", "--json").out) == expected
    assert json.loads(force("image", "build", "--json").out) == {**expected, "is_new": False}


def test_image_is_pushed_when_the_registry_lacks_it(tag: str, force: Force, engine: FakeEngine) -> None:
    reference = f"lab/stages:{tag}"
    engine.images.add(reference)
    assert force("image", "build", "--registry", "lab/stages").out == f"lab/stages@{ID}\n"
    assert engine.built == []
    assert list(engine.pushed) == [reference]


def test_nothing_is_built_when_the_registry_has_it(tag: str, force: Force, engine: FakeEngine) -> None:
    engine.pushed[f"lab/stages:{tag}"] = "lab/stages@sha256:2d"
    assert force("image", "build", "--registry", "lab/stages") == Ended(0, "lab/stages@sha256:2d\n", "")
    assert (engine.images, engine.built) == (set(), [])


def test_image_is_another_when_what_goes_into_it_changes(
    tag: str, checkout: Checkout, force: Force, engine: FakeEngine
) -> None:
    force("image", "build")
    checkout.write("docker/train.lock", "click==8.2\n")
    force("image", "build")
    assert len({reference for reference, _ in engine.built}) == 2


def test_build_fails_when_no_engine_answers(tag: str, force: Force, monkeypatch: pytest.MonkeyPatch) -> None:
    use_no_engine(monkeypatch)
    ended = force("image", "build")
    assert ended.status == 5
    assert ended.err.startswith("error: no Docker engine answers at tcp://127.0.0.1:9: Connection refused\n")


def test_build_fails_when_a_file_is_missing(checkout: Checkout, force: Force, engine: FakeEngine) -> None:
    write_image_files(checkout.root)
    (checkout.root / "docker/force").unlink()
    assert force("image", "build") == Ended(3, "", "error: docker/force: no such file\n")


def test_wheelhouse_is_refused_when_there_is_none(tag: str, force: Force, tmp_path: Path) -> None:
    ended = force("image", "build", "--wheelhouse", str(tmp_path / "nowhere"))
    assert ended.status == 2
    assert "does not exist" in ended.err


def test_later_builds_and_runs_use_what_the_last_build_was_asked_for(
    tag: str, checkout: Checkout, force: Force, engine: FakeEngine
) -> None:
    checkout.write("wheels/torch.whl", "torch")
    assert force("image", "build", "--base", "debian", "--wheelhouse", "wheels").status == 0
    expected = collect_inputs(checkout.root, "debian", checkout.root / "wheels").tag
    assert force("image", "tag", at="common").out == f"force-build/train:{expected}\n"
    assert force("run", "--docker", "nobody").err.startswith("error: no experiment 'nobody'")
    assert force("image", "build", "--base", "ubuntu").status == 0
    expected = collect_inputs(checkout.root, "ubuntu", checkout.root / "wheels").tag
    assert [reference for reference, _ in engine.built][-1] == f"force-build/train:{expected}"


def test_nothing_is_remembered_of_a_build_that_was_refused(
    tag: str, checkout: Checkout, force: Force, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_no_engine(monkeypatch)
    assert force("image", "build", "--base", "debian").status == 5
    assert force("image", "tag").out == f"force-build/train:{tag}\n"


def test_wheelhouse_is_named_with_the_way_out_when_it_is_gone_since_the_last_build(
    tag: str, checkout: Checkout, force: Force, engine: FakeEngine
) -> None:
    wheel = checkout.write("wheels/torch.whl", "torch")
    assert force("image", "build", "--wheelhouse", "wheels").status == 0
    wheel.unlink()
    wheel.parent.rmdir()
    ended = force("run", "--docker")
    assert (ended.status, ended.err.splitlines()[0]) == (
        3,
        f"error: {wheel.parent}: is gone; the last image was built from it",
    )
    assert ended.err.splitlines()[1].endswith(f"rm {checkout.root}/.force/image.json")
    (checkout.root / ".force/image.json").unlink()
    assert force("image", "tag").out == f"force-build/train:{tag}\n"


@pytest.mark.parametrize("text", ["[1]", "{", '"x"', "null"])
def test_nothing_is_remembered_when_the_file_is_damaged(tag: str, checkout: Checkout, force: Force, text: str) -> None:
    checkout.write(".force/image.json", text)
    assert force("image", "tag").out == f"force-build/train:{tag}\n"
