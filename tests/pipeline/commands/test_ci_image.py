"""`force ci image`: the image for the jobs that follow, as the output of a step."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.images import collect_inputs
from tests.checkouts import Checkout, Ended
from tests.engines import ID, FakeEngine, use_engine, write_image_files
from tests.steps import Command, Step, read_commands

Force = Callable[..., Ended]


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Step:
    """A step of a job."""
    return Step(tmp_path, monkeypatch)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, checkout: Checkout) -> FakeEngine:
    """An engine without images, in a checkout with all files for one."""
    write_image_files(checkout.root)
    return use_engine(monkeypatch)


def find_tag(checkout: Checkout, base: str = "", wheelhouse: Path | None = None) -> str:
    return collect_inputs(checkout.root, base, wheelhouse).tag


def test_image_is_an_output_when_it_stays_on_this_machine(
    checkout: Checkout, force: Force, step: Step, engine: FakeEngine
) -> None:
    step.set(GITHUB_SERVER_URL="https://git.lab.org", GITHUB_REPOSITORY="octo-lab/force-build")
    assert force("ci", "image", "--registry", "none").status == 0
    assert engine.built == [(f"force-build/train:{find_tag(checkout)}", "https://git.lab.org/octo-lab/force-build")]
    assert step.outputs == {"image": ID}
    assert step.summary == f"Built `{ID}`\n\n"


def test_image_is_pushed_once_when_there_is_a_registry(
    checkout: Checkout, force: Force, step: Step, engine: FakeEngine
) -> None:
    for _ in range(2):
        assert force("ci", "image", "--registry", "ghcr.io/octo-lab/force-build/stages").status == 0
    assert len(engine.built) == 1
    assert step.outputs == {"image": f"ghcr.io/octo-lab/force-build/stages@{ID}"}
    assert [line.split(" `")[0] for line in step.summary.split("\n\n")[:2]] == ["Built", "There already:"]


@pytest.mark.parametrize("is_option", [True, False])
def test_base_and_wheelhouse_are_those_of_the_workflow_or_the_environment(
    checkout: Checkout, force: Force, step: Step, engine: FakeEngine, is_option: bool
) -> None:
    wheelhouse = checkout.write("wheels/torch.whl", "torch").parent
    args = ["--base", "", "--wheelhouse", ""]  # as a workflow passes variables that nobody set
    if is_option:
        args = ["--base", "debian", "--wheelhouse", str(wheelhouse)]
        step.set(FORCE_BASE_IMAGE="another", FORCE_WHEELHOUSE="/nowhere")
    else:
        step.set(FORCE_BASE_IMAGE="debian", FORCE_WHEELHOUSE=str(wheelhouse))
    assert force("ci", "image", *args).status == 0
    assert [reference for reference, _ in engine.built] == [
        f"force-build/train:{find_tag(checkout, 'debian', wheelhouse)}"
    ]


def test_fault_is_annotated_when_a_file_is_missing(
    checkout: Checkout, force: Force, step: Step, engine: FakeEngine
) -> None:
    (checkout.root / "docker/train.Dockerfile").unlink()
    ended = force("ci", "image")
    assert ended.status == 3
    assert read_commands(ended.out) == [Command("error", {"file": "docker/train.Dockerfile"}, "no such file")]
    assert step.outputs == {}
