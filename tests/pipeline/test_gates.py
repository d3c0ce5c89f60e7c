"""The gates of experiment.yaml, as text."""

import pytest

from pipeline.errors import ConfigError
from pipeline.gates import Gate, parse_gate
from tests.checkouts import Checkout


@pytest.mark.parametrize(
    ("text", "sign", "number", "baseline"),
    [
        ("accuracy >= 0.97", ">=", 0.97, ""),
        ("accuracy≥.97", ">=", 0.97, ""),
        ("accuracy > 97%", ">", 0.97, ""),
        ("accuracy <= 1e-3", "<=", 0.001, ""),
        ("accuracy ≤ 5", "<=", 5, ""),
        ("accuracy < -2.5", "<", -2.5, ""),
        ("accuracy no worse than parent", "", 0, "parent"),
        ("accuracy  no worse than wide_net by more than 0.2 points", "", 0.002, "wide_net"),
        ("accuracy no worse than parent by more than 0.05", "", 0.05, "parent"),
    ],
)
def test_gate_says_what_it_wants(text: str, sign: str, number: float, baseline: str) -> None:
    is_percent = "%" in text or "points" in text
    expected = Gate(text, "accuracy", sign, pytest.approx(number), baseline, is_percent)  # type: ignore[arg-type]
    assert parse_gate(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "accuracy",
        "accuracy = 1",
        "accuracy >= high",
        ">= 0.9",
        "accuracy no worse than parent by 2",
        "loss no worse than parent by more than 5 %",
        "a b > 1",
    ],
)
def test_text_that_is_no_gate_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no gate: wanted one as 'accuracy >= 0\.97'"):
        parse_gate(text)


@pytest.mark.parametrize("text", ["accuracy <= 1e999", "accuracy no worse than parent by more than 1e999 points"])
def test_number_that_is_not_finite_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="1e999 is not finite"):
        parse_gate(text)


def test_gates_are_inherited_until_there_are_others(checkout: Checkout) -> None:
    checkout.experiment("x", "gates: [accuracy >= 0.9, cross_entropy no worse than common]\n")
    checkout.experiment("heir", "inherits: x\n")
    checkout.experiment("strict", "inherits: x\ngates: [accuracy >= 0.99]\n")
    checkout.experiment("free", "inherits: strict\ngates: []\n")
    experiments = checkout.project().experiments
    found = {name: [gate.text for gate in experiments.get(name).gates] for name in ("x", "heir", "strict", "free")}
    assert found == {
        "x": ["accuracy >= 0.9", "cross_entropy no worse than common"],
        "heir": ["accuracy >= 0.9", "cross_entropy no worse than common"],
        "strict": ["accuracy >= 0.99"],
        "free": [],
    }


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        ("[accuracy >= 0.9, accuracy]", "experiments/x/experiment.yaml:1:26: 'accuracy' is no gate"),
        (
            "[loss no worse than wide]",
            "experiments/x/experiment.yaml:1:9: 'wide' is no experiment; did you mean 'wider'?",
        ),
        ("accuracy >= 0.9", "experiments/x/experiment.yaml:1:8: 'gates' is \"accuracy >= 0.9\", wanted a list"),
        ("[0.9]", "experiments/x/experiment.yaml:1:9: "),
    ],
)
def test_bad_gate_is_a_fault_with_its_place(checkout: Checkout, gates: str, message: str) -> None:
    checkout.experiment("wider")
    checkout.experiment("x", f"gates: {gates}\n")
    with pytest.raises(ConfigError) as caught:
        checkout.project().experiments.get("x")
    assert message in str(caught.value)
