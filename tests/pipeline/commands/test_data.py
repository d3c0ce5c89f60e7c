"""`force data`."""

import json
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from common.samples import Samples
from pipeline.commands import data
from pipeline.stages.inspection import answer
from tests.checkouts import Checkout, Ended
from tests.datasets import write_samples

Force = Callable[..., Ended]

HOSTILE = ("\x1b[31mred", "[bold]x[/bold]", "a\nb", "long" * 40)


@pytest.fixture(autouse=True)
def _answer_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process look at the data, not one that loads torch again; but in the slow tests."""
    if "slow" not in request.keywords:
        monkeypatch.setattr(data, "_run_inspection", lambda root, folder: (answer(folder), ""))


def write(
    checkout: Checkout,
    name: str = "common",
    *,
    inputs: torch.Tensor | None = None,
    classes: Sequence[str] = ("a", "b"),
    splits: str = "",
) -> Path:
    """Write what `prepare` of an experiment would leave: twenty images of two classes, and return its folder."""
    inputs = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0)) if inputs is None else inputs
    count = len(inputs)
    folder = checkout.root / ("common" if name == "common" else f"experiments/{name}") / "outputs/prepare/data"
    targets = torch.arange(count) % len(classes)
    samples = Samples(inputs, targets, torch.arange(count), tuple(classes))
    write_samples(folder, samples, splits or ("t" * 14 + "vvvsss")[:count].ljust(count, "t"), name="dots")
    return folder


def test_what_data_hold_is_shown_and_drawn(checkout: Checkout, force: Force) -> None:
    write(checkout)
    ended = force("data", "show", "common")
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "common: dots"
    assert "inputs: (1, 4, 4) float32" in lines
    assert "targets: one of 2 classes, () int64" in lines
    rows = [line.split() for line in lines]
    assert ["train", "14", "70.0%"] in rows
    assert ["a", "████████████", "7", "████████████", "2", "██████", "1"] in rows
    assert ["b", "████████████", "7", "██████", "1", "████████████", "2"] in rows
    assert lines[-1] == "wrote .force/data/common/samples.png"
    with Image.open(checkout.root / ".force/data/common/samples.png") as picture:
        picture.load()
    assert checkout.git("status", "--porcelain", "--", ".force") == ""


def test_programs_get_json(checkout: Checkout, force: Force) -> None:
    write(checkout)
    shown = json.loads(force("data", "show", "common", "--json").out)
    assert (shown["experiment"], shown["prepared_for"]) == ("common", "common")
    assert shown["splits"]["valid"] == {"num_samples": 3, "classes": {"a": 2, "b": 1}}
    checked = json.loads(force("data", "check", "common", "--json").out)
    assert (checked["broken"], checked["doubts"], checked["against"]) == ([], [], None)


def test_data_of_the_owner_are_shown_when_an_experiment_inherits_them(checkout: Checkout, force: Force) -> None:
    checkout.experiment("wide", "params: {model: {channels: 40}}\n")
    write(checkout)
    ended = force("data", "show", "wide", "--output", "pictures", at="experiments")
    assert ended.out.startswith("wide: dots, prepared for common\n")
    assert ended.out.endswith("wrote pictures/samples.png\n")
    assert (checkout.root / "experiments/pictures/samples.png").exists()
    assert "wide and common use the same data, those of common" in force("data", "check", "wide").out.splitlines()


def test_old_pictures_are_gone_when_data_have_another_shape(checkout: Checkout, force: Force) -> None:
    folder = write(checkout)
    force("data", "show", "common")
    shutil.rmtree(folder)
    write(checkout, inputs=torch.rand(20, 3))
    force("data", "show", "common")
    assert [path.name for path in (checkout.root / ".force/data/common").iterdir()] == ["columns.png"]


@pytest.mark.parametrize("action", ["show", "check"])
def test_who_prepares_is_named_when_data_are_not_here(checkout: Checkout, force: Force, action: str) -> None:
    checkout.experiment("wide", "params: {model: {channels: 40}}\n")
    ended = force("data", action, "wide")
    assert (ended.status, ended.out) == (5, "")
    message = "error: the data of common, which wide uses, are not here: prepare has not run"
    assert ended.err == f"{message}\nhint: force run common:prepare\n"
    assert not (checkout.root / ".force/data").exists()


@pytest.mark.parametrize("action", ["show", "check"])
def test_the_closest_is_suggested_when_there_is_no_such_experiment(force: Force, action: str) -> None:
    ended = force("data", action, "comon")
    assert ended.status == 2
    assert ended.err == "error: no experiment 'comon'; did you mean 'common'?\nhint: force ls lists them\n"


@pytest.mark.parametrize("action", ["show", "check"])
def test_damage_is_told_in_two_lines(checkout: Checkout, force: Force, action: str) -> None:
    path = write(checkout) / "train/inputs.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    ended = force("data", action, "common")
    assert ended.status == 5
    message = "common/outputs/prepare/data/train/inputs.safetensors does not have the sha256 that metadata.json records"
    assert ended.err.splitlines()[-2:] == [f"error: {message}", "hint: force run common:prepare"]


def test_folder_that_cannot_be_made_is_named(checkout: Checkout, force: Force) -> None:
    write(checkout)
    checkout.write("taken", "")
    ended = force("data", "show", "common", "--output", "taken/inside")
    assert ended.status == 2
    assert ended.err.startswith("error: 'taken/inside' cannot be made: ")


def test_names_steer_no_terminal(checkout: Checkout, force: Force) -> None:
    write(checkout, classes=HOSTILE)
    ended = force("data", "show", "common")
    assert ended.status == 0
    assert "\x1b" not in ended.out
    starts = [line[:14] for line in ended.out.splitlines()]
    assert {"\\x1b[31mred   ", "[bold]x[/bold]", "a\\nb          ", "longlonglonglo"} <= set(starts)
    assert max(map(len, ended.out.splitlines())) < 120


def test_first_of_ten_thousand_classes_are_listed(checkout: Checkout, force: Force) -> None:
    write(checkout, inputs=torch.rand(10_000, 2), classes=[f"class {place}" for place in range(10_000)])
    lines = force("data", "show", "common").out.splitlines()
    assert "and 9,980 more classes" in lines
    assert "valid has no samples of 9,997: class 0, class 1, class 2, class 3, class 4, …" in lines
    assert len(lines) < 60


def test_empty_splits_are_shown_as_such(checkout: Checkout, force: Force) -> None:
    write(checkout, splits="t" * 20)
    rows = [line.split() for line in force("data", "show", "common").out.splitlines()]
    assert ["test", "0", "0.0%"] in rows


def test_tokens_are_shown_as_numbers_and_text(checkout: Checkout, force: Force) -> None:
    rows = torch.tensor([[ord("h") + 1, 0x1B + 1, ord("i") + 1, 0]] * 20)
    write(checkout, inputs=rows)
    out = force("data", "show", "common").out
    assert "3 different tokens in train; most frequent: 28 (14), 105 (14), 106 (14)" in out
    assert "  as bytes: h\\x1bi" in out.splitlines()


def test_gate_closes_when_data_are_not_as_expected(checkout: Checkout, force: Force) -> None:
    checkout.experiment("a", "params: {data: {expect: {maximum: 0.5, min_samples: {test: 9}}}}\n")
    write(checkout, "a")
    ended = force("data", "check", "a")
    assert ended.status == 7
    broken = [line for line in ended.out.splitlines() if line.startswith("broken: ")]
    assert len(broken) == 4
    assert broken[0] == "broken: test: 3 samples, fewer than data.expect.min_samples.test = 9"
    assert ended.err == "error: the data of a break 4 expectations\nhint: force data show a\n"
    assert json.loads(force("data", "check", "a", "--json").out)["broken"] == [line[8:] for line in broken]


def test_gate_is_open_when_data_are_as_expected(checkout: Checkout, force: Force) -> None:
    checkout.experiment("a", "params: {data: {expect: {maximum: 1, classes: [b, a]}}}\n")
    write(checkout, "a")
    ended = force("data", "check", "a")
    assert (ended.status, ended.err) == (0, "")
    assert "the data are as data.expect says" in ended.out.splitlines()
    assert any(line.startswith("not compared: the data of common are not here") for line in ended.out.splitlines())


def test_doubts_close_the_gate_only_when_it_is_strict(checkout: Checkout, force: Force) -> None:
    write(checkout, inputs=torch.cat([torch.rand(20, 1), torch.full((20, 2), 7.0)], dim=1))
    ended = force("data", "check", "common")
    line = "doubtful: inputs tell nothing: column 1 is 7, column 2 is 7 in all samples"
    assert (ended.status, ended.out.splitlines()[1]) == (0, line)
    strict = force("data", "check", "common", "--strict")
    assert (strict.status, strict.err.splitlines()[0]) == (7, "error: the data of common raise 1 doubt")


def test_drift_from_the_parent_is_told_and_closes_the_gate_only_when_it_is_strict(
    checkout: Checkout, force: Force
) -> None:
    checkout.experiment("a", "params: {data: {split_seed: 7}}\n")
    numbers = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    write(checkout, inputs=numbers)
    write(checkout, "a", inputs=numbers + torch.tensor([0.0, 1.0]), splits="ts" * 100)
    ended = force("data", "check", "a")
    assert ended.status == 0
    lines = ended.out.splitlines()
    assert "beside the data of common:" in lines
    assert "  inputs: 1 of 2 distributions have drifted" in lines
    assert any(line.startswith("  column 1  strong drift") for line in lines)
    assert any(line.startswith("  200 ids in both, ") for line in lines)
    strict = force("data", "check", "a", "--strict")
    assert (strict.status, strict.err) == (7, "error: the data of a are not those of common\n")


def test_data_of_another_source_and_form_than_the_parent_are_not_compared_unasked(
    checkout: Checkout, force: Force
) -> None:
    override = "from common.data import DataModule\n\n\nclass Other(DataModule):\n    pass\n"
    checkout.experiment("a", data=override)
    write(checkout, inputs=torch.rand(20, 2))
    write(checkout, "a", inputs=torch.rand(20, 3))
    ended = force("data", "check", "a", "--strict")
    message = "error: the data of a are out of date: has not run yet\nhint: force run a:prepare\n"
    assert (ended.status, ended.err) == (7, message)
    assert ended.out.splitlines()[-1] == (
        "not compared with common, whose source and form are others: input_shape is (3,), not (2,); "
        "--against names another experiment"
    )
    ended = force("data", "check", "a", "--strict", "--against", "common")
    assert (ended.status, ended.err) == (7, "error: the data of a are not those of common\n")


def test_a_column_more_of_the_parents_source_closes_the_strict_gate(checkout: Checkout, force: Force) -> None:
    checkout.experiment("a", "params: {data: {split_seed: 7}}\n")
    write(checkout, inputs=torch.rand(20, 2))
    write(checkout, "a", inputs=torch.rand(20, 3))
    ended = force("data", "check", "a", "--strict")
    assert (ended.status, ended.err) == (7, "error: the data of a are not those of common\n")


def test_another_experiment_is_compared_with_when_it_is_named(checkout: Checkout, force: Force) -> None:
    checkout.experiment("a", "params: {data: {split_seed: 7}}\n")
    write(checkout)
    ended = force("data", "check", "common", "--against", "a")
    assert (ended.status, ended.err.splitlines()[0]) == (5, "error: the data of a are not here: prepare has not run")
    write(checkout, "a")
    checked = json.loads(force("data", "check", "common", "--against", "a", "--json", "--strict").out)
    assert (checked["against"], checked["drift"]["samples"]["same"]) == ("a", 20)
    assert force("data", "check", "common", "--against", "b").status == 2


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        ("{maxium: 1}", "did you mean 'maximum'?"),
        ("{min_samples: {trian: 1}}", "did you mean 'train'?"),
        ("{min_class_fraction: 1}", "wanted"),
        ("{classes: a}", "wanted"),
    ],
)
def test_params_that_expect_nothing_known_are_faults(
    checkout: Checkout, force: Force, expect: str, message: str
) -> None:
    checkout.experiment("a", f"params: {{data: {{expect: {expect}}}}}\n")
    ended = force("data", "check", "a")
    assert ended.status == 3
    assert message in ended.err


def test_reason_is_told_when_the_process_is_killed(
    checkout: Checkout, force: Force, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(checkout)
    monkeypatch.setattr(data, "_run_inspection", lambda root, folder: (-signal.SIGKILL, ""))
    ended = force("data", "show", "common")
    assert (ended.status, ended.err) == (5, "error: the process that reads the data was killed by SIGKILL\n")


@pytest.mark.slow
def test_a_process_of_its_own_looks_and_leaves_nothing_else(checkout: Checkout, force: Force) -> None:
    write(checkout)
    assert force("data", "show", "common").status == 0
    assert not list((checkout.root / ".force").glob("inspection.*"))
