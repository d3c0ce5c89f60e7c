"""The project: found from anywhere inside it, with the experiments that were asked for."""

from pathlib import Path

import pytest

from pipeline.errors import ConfigError, UsageError
from pipeline.project import find_project
from tests.checkouts import Checkout
from tests.recorded import override


def test_project_is_found_when_the_folder_is_inside_it(checkout: Checkout) -> None:
    checkout.experiment("x", model=override("model"))
    for folder in (".", "common", "experiments/x"):
        assert find_project(checkout.root / folder).root == checkout.root


def test_hint_says_where_to_go_when_the_folder_is_in_no_project(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_project(tmp_path)
    assert caught.value.render() == (
        f"error: '{tmp_path}' is in no Force Build checkout\n"
        "hint: cd into a checkout: the folder with params.yaml and common/"
    )


def test_all_are_selected_when_none_is_named(checkout: Checkout) -> None:
    checkout.experiment("b", model=override("model"))
    checkout.experiment("a", model=override("model"))
    assert list(checkout.project().select(())) == ["common", "a", "b"]


def test_the_named_are_selected_once_and_in_their_order_when_there_are_names(checkout: Checkout) -> None:
    checkout.experiment("b", model=override("model"))
    checkout.experiment("a", model=override("model"))
    assert list(checkout.project().select(("b", "common", "b"))) == ["b", "common"]


def test_the_closest_is_suggested_when_there_is_no_such_experiment(checkout: Checkout) -> None:
    checkout.experiment("wide_net", model=override("model"))
    with pytest.raises(UsageError) as caught:
        checkout.project().select(("wide_nte",))
    assert caught.value.render() == (
        "error: no experiment 'wide_nte'; did you mean 'wide_net'?\nhint: force ls lists them"
    )


@pytest.mark.parametrize("names", [(), ("x", "y")])
def test_faults_of_all_are_told_at_once_when_several_are_faulty(checkout: Checkout, names: tuple[str, ...]) -> None:
    checkout.experiment("x", "colour: red\n")
    checkout.experiment("y", "inherits: nobody\n")
    with pytest.raises(ConfigError) as caught:
        checkout.project().select(names)
    assert [problem.path for problem in caught.value.problems] == [
        "experiments/x/experiment.yaml",
        "experiments/y/experiment.yaml",
    ]


def test_a_sound_experiment_is_selected_when_another_is_faulty(checkout: Checkout) -> None:
    checkout.experiment("x", "colour: red\n")
    checkout.experiment("y", model=override("model"))
    assert list(checkout.project().select(("y",))) == ["y"]


def test_ancestors_are_known_when_ownership_is_asked_for_their_heir(checkout: Checkout) -> None:
    checkout.experiment("a", model=override("model"))
    checkout.experiment("b", "inherits: a\nparams: {evaluate: {metrics: {calibration_error: {n_bins: 5}}}}\n")
    project = checkout.project()
    ownership = project.ownership(project.select(("b",)))
    assert [ownership.owner("b", stage) for stage in ("prepare", "train", "evaluate")] == ["common", "a", "b"]


def test_an_edit_is_seen_only_when_the_project_is_refreshed(checkout: Checkout) -> None:
    project = checkout.project()
    assert project.experiments.names() == ["common"]
    assert project.cache.folder == checkout.root / ".dvc" / "cache"
    checkout.experiment("x", model=override("model"))
    checkout.write(".dvc/config", "[cache]\n    dir = elsewhere\n")
    assert project.cache.folder == checkout.root / ".dvc" / "cache"
    project.refresh()
    assert project.experiments.names() == ["common", "x"]
    assert project.cache.folder == checkout.root / ".dvc" / "elsewhere"


def test_sound_experiments_are_told_from_faulty_ones_and_their_heirs(checkout: Checkout) -> None:
    checkout.experiment("good", model=override("model"))
    checkout.experiment("faulty", "colour: red\n", model=override("model"))
    checkout.experiment("void", "description: changes nothing\n")
    for parent in ("good", "faulty", "void"):
        checkout.experiment(f"heir_of_{parent}", f"inherits: {parent}\nparams: {{train: {{epochs: 9}}}}\n")
    checkout.experiment("common", model=override("model"))
    project = checkout.project()
    sound, faults = project.select_sound()
    assert list(sound) == ["common", "good", "heir_of_good"]
    assert {name: [problem.path for problem in problems] for name, problems in faults.items()} == {
        "common": ["experiments/common"],
        "faulty": ["experiments/faulty/experiment.yaml"],
        "heir_of_faulty": ["experiments/faulty/experiment.yaml"],
        "heir_of_void": ["experiments/void/experiment.yaml"],
        "void": ["experiments/void/experiment.yaml"],
    }
    assert project.ownership(sound).owner("heir_of_good", "train") == "heir_of_good"


def test_nothing_is_sound_when_the_common_build_is_not(checkout: Checkout) -> None:
    checkout.experiment("x", model=override("model"))
    checkout.write("params.yaml", "colour: red\n")
    sound, faults = checkout.project().select_sound()
    assert sound == {}
    assert {name: {problem.path for problem in found} for name, found in faults.items()} == {
        "common": {"params.yaml"},
        "x": {"params.yaml"},
    }


def test_ownership_knows_all_whose_models_are_taken(checkout: Checkout) -> None:
    checkout.experiment("wide", model=override("model"))
    checkout.experiment("x", "params: {model: {init_from: wide}}\n")
    project = checkout.project()
    ownership = project.ownership(project.select(("x",)))
    assert ownership.owner("wide", "train") == "wide"


def test_experiments_are_unsound_when_they_reach_a_circle_of_trainings(checkout: Checkout) -> None:
    checkout.experiment("a", "params: {model: {init_from: b}}\n")
    checkout.experiment("b", "params: {model: {init_from: a}}\n")
    checkout.experiment("user", "params: {model: {init_from: a}}\n")
    checkout.experiment("wide", model=override("model"))
    sound, faults = checkout.project().select_sound()
    assert list(sound) == ["common", "wide"]
    paths = {name: [problem.path for problem in found] for name, found in faults.items()}
    assert paths == {name: ["experiments/a/experiment.yaml"] for name in ("a", "b", "user")}
