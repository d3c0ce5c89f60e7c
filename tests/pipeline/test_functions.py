"""Functions that params name, found and checked without running."""

import pytest

from pipeline.errors import ConfigError
from pipeline.planning import State
from tests.checkouts import Checkout
from tests.recorded import plan, record, stage_of

SHAPES = """\
from common.config import DataPath, PositiveInt
from common.samples import Samples
from experiments.rings.circles import turn


def draw(num: PositiveInt, *, radius: float = 1.0, table: DataPath | None = None) -> Samples:
    raise NotImplementedError


def stretch(**factors: float) -> Samples:
    raise NotImplementedError


class Ring:
    pass
"""
CIRCLES = "def turn() -> None:\n    pass\n"


def name_function(call: str = "experiments.rings.shapes:draw", arguments: str = "{num: 3}") -> str:
    """Return an experiment.yaml whose data a function makes."""
    return f"params:\n  data:\n    source:\n      name: function\n      call: {call}\n      arguments: {arguments}\n"


@pytest.fixture
def rings(checkout: Checkout) -> Checkout:
    """A checkout with an experiment whose data a function of its own makes."""
    checkout.write("data/rings.csv", "radius\n1\n")
    checkout.experiment("rings", name_function(), shapes=SHAPES, circles=CIRCLES)
    return checkout


def find_problems(checkout: Checkout, name: str, text: str) -> list[str]:
    """Return the faults of an experiment with this experiment.yaml, with their lines."""
    checkout.experiment(name, text)
    with pytest.raises(ConfigError) as caught:
        checkout.project().experiments.get(name)
    return [f"{problem.path.rpartition('/')[2]}:{problem.line}: {problem.message}" for problem in caught.value.problems]


def test_stage_depends_on_the_function_and_on_what_it_imports(rings: Checkout) -> None:
    files = set(stage_of(rings, "rings", "prepare").files)
    wanted = {"experiments/rings/shapes.py", "experiments/rings/circles.py", "common/sources/function.py"}
    assert wanted <= files
    assert "experiments/rings/shapes.py" not in stage_of(rings, "rings", "train").files
    record(rings)
    assert plan(rings, "rings")["prepare"].state is State.UP_TO_DATE
    rings.write("experiments/rings/circles.py", CIRCLES + "\n\nX = 1\n")
    assert plan(rings, "rings")["prepare"].why == "experiments/rings/circles.py changed"


def test_argument_that_is_a_path_of_data_is_a_dependency(rings: Checkout) -> None:
    rings.experiment("rings", name_function(arguments="{num: 3, table: data/rings.csv}"))
    assert stage_of(rings, "rings", "prepare").data == ("data/rings.csv",)
    problems = find_problems(rings, "rings", name_function(arguments="{num: 3, table: data/none.csv}"))
    fault = "'data.source.arguments.table': there is no 'data/none.csv', and no 'data/none.csv.dvc'"
    assert problems == [f"experiment.yaml:6: {fault}"]


def test_heir_calls_the_function_with_other_arguments(rings: Checkout) -> None:
    rings.experiment("heir", "inherits: rings\nparams: {data: {source: {arguments: {num: 4}}}}\n")
    stage = stage_of(rings, "heir", "prepare")
    assert "experiments/rings/shapes.py" in stage.files
    assert stage.experiment == "heir"


def test_function_of_an_experiment_that_is_no_ancestor_is_refused(rings: Checkout) -> None:
    assert find_problems(rings, "other", name_function()) == [
        "experiment.yaml:5: imports 'experiments/rings/shapes.py' of experiment 'rings', no ancestor"
    ]


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ("draw", "'draw' is no function, as experiments.rings.shapes:draw"),
        ("'experiments.rings.shapes:'", "'experiments.rings.shapes:' is no function"),
        (
            "experiments.rings.shape:draw",
            "no module 'experiments.rings.shape' in common or experiments; did you mean 'experiments.rings.shapes'?",
        ),
        ("os.path:join", "no module 'os.path' in common or experiments"),
        (
            "experiments.rings.shapes:drow",
            "'experiments.rings.shapes' defines no function 'drow'; did you mean 'draw'?",
        ),
        ("experiments.rings.shapes:Ring", "'experiments.rings.shapes' defines no function 'Ring'"),
        ("experiments.rings.shapes:turn", "'experiments.rings.shapes' defines no function 'turn'"),
    ],
)
def test_what_is_no_function_is_refused_with_its_place(rings: Checkout, call: str, fault: str) -> None:
    (problem,) = find_problems(rings, "rings", name_function(call))
    assert problem.startswith(f"experiment.yaml:5: 'data.source.call': {fault}")


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        ("{}", ["5: 'draw' needs 'num' (data.source.arguments)"]),
        ("{num: 3, radios: 2}", ["6: 'draw' takes no 'radios'; did you mean 'radius'?"]),
        ("{num: 0}", ["6: 'data.source.arguments.num' is 0, wanted a whole number of at least 1"]),
        ("{num: 3, radius: wide}", ["6: 'data.source.arguments.radius' is \"wide\", wanted a number"]),
    ],
)
def test_arguments_have_to_fit(rings: Checkout, arguments: str, problems: list[str]) -> None:
    found = find_problems(rings, "rings", name_function(arguments=arguments))
    assert found == [f"experiment.yaml:{problem}" for problem in problems]


def test_function_may_take_any_argument(rings: Checkout) -> None:
    rings.experiment("rings", name_function("experiments.rings.shapes:stretch", "{x: 1.5}"))
    assert "experiments/rings/shapes.py" in stage_of(rings, "rings", "prepare").files


def test_faults_of_the_functions_file_have_their_place(rings: Checkout) -> None:
    rings.experiment("rings", name_function(), shapes="import nothing_at_all\n\n\ndef draw(num): pass\n")
    (problem,) = find_problems(rings, "rings", name_function())
    assert problem == "shapes.py:1: no module 'nothing_at_all' is installed"
    rings.experiment("rings", name_function(), shapes="def draw(:\n")
    (problem,) = find_problems(rings, "rings", name_function())
    assert problem.startswith("shapes.py:1: syntax error")


def test_name_that_is_no_text_is_refused(rings: Checkout) -> None:
    assert find_problems(rings, "rings", name_function("3")) == [
        "experiment.yaml:5: 'data.source.call' is 3, wanted a text"
    ]
