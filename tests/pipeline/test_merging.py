"""Results that come to a branch that moved: which of them are still wanted there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.merging import choose_files, experiment_of
from pipeline.statuses import list_result_files

Count = Callable[[str], int]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A branch's tip with results of `x` and of the common build, and none of `y`."""
    tree = tmp_path / "tree"
    for path in [*list_result_files("x"), *list_result_files("common")]:
        write(tree / path, "theirs")
    write(tree / "experiments/y/experiment.yaml", "theirs")
    return tree


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def make_results(tmp_path: Path, *experiments: str) -> dict[str, Path]:
    """Write all results of experiments, and return them by path in the repository."""
    paths = [path for experiment in experiments for path in list_result_files(experiment)]
    return {path: write(tmp_path / "ours" / path, "ours") for path in paths}


def count_by_content(tree: Path, ours: int, theirs: int) -> Count:
    """Return a count of stale stages that depends on whose dvc.lock stands in the tree."""

    def count(experiment: str) -> int:
        path = tree / ("dvc.lock" if experiment == "common" else f"experiments/{experiment}/dvc.lock")
        return ours if path.exists() and path.read_text() == "ours" else theirs

    return count


def count_never(experiment: str) -> int:
    raise AssertionError(f"nobody need count the stages of {experiment}")


def read_tree(tree: Path) -> dict[str, str]:
    return {str(path.relative_to(tree)): path.read_text() for path in tree.rglob("*") if path.is_file()}


def test_results_are_taken_when_the_branch_stood_still(tree: Path, tmp_path: Path) -> None:
    files = make_results(tmp_path, "x", "y", "common")
    assert choose_files(files, set(), tree, count_never) == (files, [])


@pytest.mark.parametrize(("ours", "theirs", "is_taken"), [(0, 1, True), (1, 1, True), (1, 0, False)])
def test_results_that_the_branch_did_not_change_are_taken_unless_its_own_fit_better(
    tree: Path, tmp_path: Path, ours: int, theirs: int, is_taken: bool
) -> None:
    files = make_results(tmp_path, "x")
    moved = {"README.md", "experiments/x/model.py", "experiments/z/dvc.lock"}
    chosen = choose_files(files, moved, tree, count_by_content(tree, ours, theirs))
    assert chosen == ((files, []) if is_taken else ({}, list(files)))


def test_a_dvc_file_that_the_branch_changed_stays_when_results_are_taken(tree: Path, tmp_path: Path) -> None:
    files = make_results(tmp_path, "x")
    taken, _ = choose_files(files, {"experiments/x/dvc.yaml"}, tree, count_by_content(tree, 0, 1))
    assert set(files) - set(taken) == {"experiments/x/dvc.yaml"}


@pytest.mark.parametrize(("ours", "theirs", "is_taken"), [(0, 1, True), (1, 2, True), (1, 1, False), (2, 0, False)])
@pytest.mark.parametrize("experiment", ["x", "common"])
def test_results_are_taken_only_if_they_fit_better_when_others_came_first(
    tree: Path, tmp_path: Path, experiment: str, ours: int, theirs: int, is_taken: bool
) -> None:
    files = make_results(tmp_path, experiment)
    moved = {list_result_files(experiment)[-1]}
    chosen = choose_files(files, moved, tree, count_by_content(tree, ours, theirs))
    assert chosen == ((files, []) if is_taken else ({}, list(files)))


def test_nothing_is_dropped_when_the_branch_has_the_same_results_already(tree: Path, tmp_path: Path) -> None:
    files = make_results(tmp_path, "x")
    for path in files:
        write(tree / path, "ours")
    assert choose_files(files, set(files), tree, count_never) == (files, [])


def test_each_experiment_is_judged_by_itself_when_only_one_of_them_changed(tree: Path, tmp_path: Path) -> None:
    ours = make_results(tmp_path, "y")
    files = {**make_results(tmp_path, "x"), **ours}
    chosen = choose_files(files, {"experiments/x/dvc.lock"}, tree, count_by_content(tree, 1, 1))
    assert chosen == (ours, list_result_files("x"))


def test_results_are_dropped_when_their_experiment_is_gone(tree: Path, tmp_path: Path) -> None:
    ours = make_results(tmp_path, "x")
    files = {**make_results(tmp_path, "gone"), **ours}
    assert choose_files(files, set(), tree, count_never) == (ours, list_result_files("gone"))


def test_results_of_the_common_build_are_taken_when_it_never_had_any(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    files = make_results(tmp_path, "common")
    assert choose_files(files, set(), tmp_path / "tree", count_never) == (files, [])


@pytest.mark.parametrize(("ours", "theirs"), [(0, 1), (1, 0)])
def test_tree_is_as_it_was_when_results_were_judged(tree: Path, tmp_path: Path, ours: int, theirs: int) -> None:
    (tree / "experiments/x/outputs/costs.json").unlink()
    before = read_tree(tree)
    choose_files(make_results(tmp_path, "x"), {"experiments/x/dvc.lock"}, tree, count_by_content(tree, ours, theirs))
    assert read_tree(tree) == before


def test_tree_is_as_it_was_when_judging_fails(tree: Path, tmp_path: Path) -> None:
    before = read_tree(tree)

    def count(experiment: str) -> int:
        if (tree / "experiments/x/dvc.lock").read_text() == "ours":
            raise ZeroDivisionError
        return 1

    with pytest.raises(ZeroDivisionError):
        choose_files(make_results(tmp_path, "x"), {"experiments/x/dvc.lock"}, tree, count)
    assert read_tree(tree) == before


@pytest.mark.parametrize("experiment", ["common", "x"])
def test_every_result_belongs_to_its_experiment(experiment: str) -> None:
    assert {experiment_of(path) for path in list_result_files(experiment)} == {experiment}
