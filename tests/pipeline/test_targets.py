"""Targets: experiments and single stages of them, and all that those need."""

import pytest

from pipeline.errors import UsageError
from pipeline.targets import collect_stages, parse_targets
from tests.checkouts import Checkout
from tests.recorded import override, resolve

ALL = ("prepare", "train", "evaluate")


def collect(checkout: Checkout, *targets: str) -> list[str]:
    """Return the stages that targets take, each as experiment:stage."""
    return [":".join(stage.id) for stage in collect_stages(parse_targets(targets), resolve(checkout)[1])]


@pytest.mark.parametrize(
    ("targets", "wanted"),
    [
        ([], {}),
        (["x"], {"x": ALL}),
        (["x:train"], {"x": ("train",)}),
        (["x:evaluate", "y", "x:prepare"], {"x": ("prepare", "evaluate"), "y": ALL}),
        (["x", "x:train"], {"x": ALL}),
    ],
)
def test_stages_are_in_their_order_when_targets_name_them(
    targets: list[str], wanted: dict[str, tuple[str, ...]]
) -> None:
    assert parse_targets(targets) == wanted


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("x:trian", "no stage 'trian' in 'x:trian'; did you mean 'train'?"),
        ("x:", "no stage '' in 'x:'"),
        ("x:train:y", "no stage 'train:y' in 'x:train:y'; did you mean 'train'?"),
    ],
)
def test_target_is_refused_when_there_is_no_such_stage(target: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_targets([target])
    assert (caught.value.message, caught.value.hint) == (message, "stages are prepare, train, evaluate")


def test_stages_come_once_and_after_what_they_need_when_experiments_share_some(checkout: Checkout) -> None:
    checkout.experiment("x", model=override("model"))
    checkout.experiment("y", "inherits: x\n", evaluator=override("evaluator"))
    assert collect(checkout, "y", "x") == ["common:prepare", "x:train", "y:evaluate", "x:evaluate"]


def test_only_one_stage_and_what_it_needs_is_taken_when_a_target_names_it(checkout: Checkout) -> None:
    checkout.experiment("x", model=override("model"))
    assert collect(checkout, "x:train") == ["common:prepare", "x:train"]
    assert collect(checkout, "x:prepare") == ["common:prepare"]
    assert collect(checkout, "x:evaluate") == ["common:prepare", "x:train", "x:evaluate"]
