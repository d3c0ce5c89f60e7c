"""`force run` where nothing has to run: what it is asked for, and in which image it would."""

import signal
from collections.abc import Callable, Iterator

import pytest

from pipeline.images import collect_inputs
from tests.checkouts import Checkout, Ended
from tests.engines import use_engine, use_no_engine, write_image_files
from tests.recorded import override, record

Force = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """A run answers SIGTERM as it does Ctrl-C; what comes after the test does not."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def recorded(checkout: Checkout) -> Checkout:
    """A checkout where everything is up to date: `x` has its own training, `y` its own evaluation."""
    checkout.experiment("x", model=override("model"))
    checkout.experiment("y", evaluator=override("evaluator"))
    record(checkout)
    return checkout


@pytest.mark.parametrize(
    ("targets", "num_stages", "shown"),
    [
        ([], 6, ["common", "x", "y"]),
        (["x"], 3, ["x", "common"]),
        (["x:train"], 2, ["x", "common"]),
        (["x:prepare", "common:prepare"], 1, ["x", "common"]),
        (["y:train", "x:train"], 3, ["y", "x", "common"]),
        (["y:evaluate"], 3, ["y", "common"]),
    ],
)
def test_only_what_targets_need_is_looked_at(
    recorded: Checkout, force: Force, targets: list[str], num_stages: int, shown: list[str]
) -> None:
    ended = force("run", *targets)
    assert (ended.status, ended.err) == (0, "")
    first, _, header, *rows = ended.out.splitlines()
    assert first == f"nothing to do: {num_stages} stage{'s are' if num_stages > 1 else ' is'} up to date"
    assert header.split() == ["experiment", "against", "accuracy"]
    assert [row.split()[0] for row in rows if row] == shown


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("x:trian", "no stage 'trian' in 'x:trian'; did you mean 'train'?"),
        ("xx:train", "no experiment 'xx'; did you mean 'x'?"),
        ("x/y", "no experiment 'x/y'"),
    ],
)
def test_target_is_refused_when_there_is_none_of_that_name(
    recorded: Checkout, force: Force, target: str, message: str
) -> None:
    ended = force("run", target)
    assert ended.status == 2
    assert ended.err.startswith(f"error: {message}")


# Containers


def test_run_fails_when_no_engine_answers(recorded: Checkout, force: Force, monkeypatch: pytest.MonkeyPatch) -> None:
    use_no_engine(monkeypatch)
    ended = force("run", "--docker")
    assert ended.status == 5
    assert ended.err.startswith("error: no Docker engine answers at tcp://127.0.0.1:9: ")
    assert force("run").status == 0


def test_run_fails_with_the_command_when_the_image_is_not_built_yet(
    recorded: Checkout, force: Force, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = use_engine(monkeypatch)
    write_image_files(recorded.root)
    ended = force("run", "--docker")
    assert ended == Ended(5, "", "error: the image for these files is not built yet\nhint: force image build\n")
    engine.images.add(f"force-build/train:{collect_inputs(recorded.root, '', None).tag}")
    assert force("run", "--docker").status == 0


def test_image_is_the_named_one_when_there_is_a_name(
    recorded: Checkout, force: Force, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = use_engine(monkeypatch)
    engine.images.add("lab/stages@sha256:1d")
    assert force("run", "--docker", "--image", "lab/stages@sha256:1d").status == 0
    monkeypatch.setenv("FORCE_IMAGE", "lab/stages@sha256:1d")
    assert force("run", "--docker").status == 0


def test_containers_of_an_earlier_run_here_go_when_the_next_one_starts(
    recorded: Checkout, force: Force, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = use_engine(monkeypatch)
    engine.images.add("lab/stages:1")
    engine.containers = {
        "left": {"force-build.workspace": str(recorded.root)},
        "another": {"force-build.workspace": f"{recorded.root}2"},
    }
    ended = force("run", "--docker", "--image", "lab/stages:1")
    assert ended.status == 0
    assert ended.err == "warning: the container left of an earlier run was still there; it is removed\n"
    assert list(engine.containers) == ["another"]


def test_run_uses_the_image_of_the_last_build(
    recorded: Checkout, force: Force, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_engine(monkeypatch)
    write_image_files(recorded.root)
    assert force("image", "build", "--base", "debian").status == 0
    assert force("run", "--docker").status == 0


def test_image_on_the_command_line_is_used_without_docker(
    recorded: Checkout, force: Force, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_no_engine(monkeypatch)
    assert force("run", "--image", "nothing-such").err.startswith("error: no Docker engine answers ")
    monkeypatch.setenv("FORCE_IMAGE", "nothing-such")
    assert force("run").status == 0
