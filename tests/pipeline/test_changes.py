"""`force plan --changed-since`: what the changes of a branch affect, in real git repositories."""

import json
import shutil
import subprocess
from collections.abc import Callable

import pytest

from tests.checkouts import Checkout, Ended
from tests.recorded import override, sync

Affected = dict[str, list[str]]
MODEL_WITH_HELPER = override("model", imports="from experiments.wide.layers import Scale")


@pytest.fixture
def committed(checkout: Checkout) -> Checkout:
    """A repository with one commit: `wide` overrides the model, `sharp` two params, `other` the evaluator."""
    checkout.experiment(
        "wide",
        model=MODEL_WITH_HELPER,
        layers="from experiments.wide.scales import ONE as Scale\n",
        scales="ONE = 1\n",
    )
    checkout.experiment("sharp", "params: {train: {epochs: 5}, model: {channels: 8}}\n")
    checkout.experiment("other", evaluator=override("evaluator"))
    sync(checkout)
    checkout.commit()
    return checkout


@pytest.fixture
def affected(committed: Checkout, force: Callable[..., Ended]) -> Callable[..., Affected]:
    """Return what `force plan --changed-since` says: `experiment:stage` → reasons."""

    def call(revision: str = "HEAD", *names: str) -> Affected:
        ended = force("plan", *names, "--changed-since", revision, "--json")
        assert ended.status == 0, ended.err
        return {f"{c['experiment']}:{c['stage']}": c["reasons"] for c in json.loads(ended.out)}

    return call


def edit(checkout: Checkout, path: str, old: str, new: str) -> None:
    text = (checkout.root / path).read_text()
    assert old in text
    (checkout.root / path).write_text(text.replace(old, new))


def test_nothing_is_affected_when_nothing_changed(affected: Callable[..., Affected]) -> None:
    assert affected() == {}


def test_nothing_is_affected_when_only_a_description_changed(
    committed: Checkout, affected: Callable[..., Affected]
) -> None:
    edit(committed, "experiments/sharp/experiment.yaml", "params:", "description: another\nowner: us\nparams:")
    assert affected() == {}


def test_nothing_is_affected_when_an_unrelated_file_changed(
    committed: Checkout, affected: Callable[..., Affected]
) -> None:
    committed.write("experiments/wide/notes.py", "# a comment\n")
    committed.write("README.md", "words\n")
    assert affected() == {}


def test_stages_that_read_it_are_affected_when_a_helper_two_imports_away_changed(
    committed: Checkout, affected: Callable[..., Affected]
) -> None:
    edit(committed, "experiments/wide/scales.py", "1", "2")
    assert affected() == {
        "wide:train": ["experiments/wide/scales.py changed"],
        "wide:evaluate": ["experiments/wide/scales.py changed", "train is affected"],
    }


def test_stages_that_read_it_are_affected_when_a_param_changed(
    committed: Checkout, affected: Callable[..., Affected]
) -> None:
    edit(committed, "experiments/sharp/experiment.yaml", "epochs: 5", "epochs: 7")
    assert affected() == {"sharp:train": ["train.epochs: 5 → 7"], "sharp:evaluate": ["train is affected"]}


def test_only_experiments_that_take_it_are_affected_when_a_common_param_changed(
    committed: Checkout, affected: Callable[..., Affected]
) -> None:
    edit(committed, "params.yaml", "channels: 32", "channels: 64")
    changed = ["model.channels: 32 → 64"]
    assert affected() == {
        "common:train": changed,
        "common:evaluate": ["train is affected"],
        "other:train": changed,
        "other:evaluate": ["train of common is affected"],
        "wide:train": changed,
        "wide:evaluate": ["train is affected"],
    }


def test_stages_are_affected_when_a_param_is_new(committed: Checkout, affected: Callable[..., Affected]) -> None:
    edit(committed, "experiments/sharp/experiment.yaml", "epochs: 5", "epochs: 5, optimizer: {weight_decay: 0.0}")
    text = "train.optimizer.weight_decay is set to 0.0 in experiments/sharp/experiment.yaml"
    assert affected()["sharp:train"] == [text]


@pytest.mark.parametrize("is_synced", [False, True])
def test_stages_are_affected_when_a_param_is_given_up(
    committed: Checkout, affected: Callable[..., Affected], is_synced: bool
) -> None:
    edit(committed, "experiments/sharp/experiment.yaml", "train: {epochs: 5}, ", "")
    if is_synced:
        sync(committed)
    assert {"sharp:train", "sharp:evaluate"} <= affected().keys()


def test_stages_are_affected_when_the_parent_is_another(committed: Checkout, affected: Callable[..., Affected]) -> None:
    committed.experiment("dull", "params: {train: {epochs: 6}, model: {channels: 8}}\n")
    committed.experiment("child", "inherits: sharp\nparams: {train: {optimizer: {weight_decay: 0.0}}}\n")
    sync(committed)
    committed.commit()
    edit(committed, "experiments/child/experiment.yaml", "sharp", "dull")
    assert {"child:train", "child:evaluate"} <= affected().keys()


def test_every_stage_is_affected_when_all_of_them_import_the_file(
    committed: Checkout, affected: Callable[..., Affected]
) -> None:
    edit(committed, "common/dataset.py", "import hashlib", "import hashlib  # a comment counts too")
    found = affected()
    names = [
        f"{name}:{stage}" for name in ("common", "other", "sharp", "wide") for stage in ("prepare", "train", "evaluate")
    ]
    assert list(found) == names
    assert found["sharp:train"] == ["common/dataset.py changed", "prepare of common is affected"]


def test_new_experiment_is_affected_when_it_is_not_even_added(
    committed: Checkout, affected: Callable[..., Affected]
) -> None:
    committed.experiment("fresh", "params: {train: {epochs: 1}}\n")
    found = affected()
    assert list(found) == ["fresh:train", "fresh:evaluate"]
    assert all("is new" in reasons for reasons in found.values())


def test_new_experiment_is_affected_when_it_was_committed(
    committed: Checkout, affected: Callable[..., Affected]
) -> None:
    committed.experiment("fresh", "params: {evaluate: {metrics: {calibration_error: {n_bins: 5}}}}\n")
    sync(committed)
    committed.commit()
    found = affected("HEAD~1")
    assert list(found) == ["fresh:evaluate"]
    assert "is new" in found["fresh:evaluate"]


def test_experiment_is_said_to_be_deleted_when_it_is_gone(
    committed: Checkout, affected: Callable[..., Affected]
) -> None:
    shutil.rmtree(committed.root / "experiments/wide")
    assert affected() == {"wide:": ["deleted"]}
    committed.commit()
    assert affected("HEAD~1..HEAD") == {"wide:": ["deleted"]}
    assert affected("HEAD") == {}


def test_experiment_is_new_and_its_old_name_deleted_when_it_was_renamed(
    committed: Checkout, affected: Callable[..., Affected]
) -> None:
    committed.git("mv", "experiments/sharp", "experiments/keen")
    sync(committed)
    found = affected()
    assert list(found) == ["keen:train", "keen:evaluate", "sharp:"]
    assert found["sharp:"] == ["deleted"]
    assert "is new" in found["keen:train"]


def test_stages_are_affected_when_an_override_was_deleted(
    committed: Checkout, affected: Callable[..., Affected]
) -> None:
    committed.experiment("both", model=override("model", "Net"), loader=override("loader"))
    sync(committed)
    committed.commit()
    (committed.root / "experiments/both/loader.py").unlink()
    assert affected()["both:train"] == ["experiments/both/loader.py is no dependency any more"]


def test_experiment_is_affected_when_a_stage_of_its_own_is_inherited_now(
    committed: Checkout, affected: Callable[..., Affected]
) -> None:
    committed.experiment("both", model=override("model", "Net"), evaluator=override("evaluator"))
    sync(committed)
    committed.commit()
    (committed.root / "experiments/both/model.py").unlink()
    reasons = affected()["both:evaluate"]
    assert "common/outputs/train/model is a new dependency" in reasons
    assert "experiments/both/outputs/train/model is no dependency any more" in reasons


def test_only_the_branchs_changes_count_when_the_range_has_three_dots(
    committed: Checkout, affected: Callable[..., Affected]
) -> None:
    committed.git("checkout", "--quiet", "-b", "topic")
    edit(committed, "experiments/sharp/experiment.yaml", "epochs: 5", "epochs: 7")
    committed.commit()
    committed.git("checkout", "--quiet", "main")
    edit(committed, "common/data.py", "import logging", "import logging  # on main")
    committed.commit()
    committed.git("checkout", "--quiet", "topic")
    assert set(affected("main...HEAD")) == {"sharp:train", "sharp:evaluate"}
    assert set(affected("main...")) == {"sharp:train", "sharp:evaluate"}
    assert "common:prepare" in affected("main..HEAD")
    assert "common:prepare" in affected("main")


def test_uncommitted_files_count_only_when_the_range_has_no_end(
    committed: Checkout, affected: Callable[..., Affected]
) -> None:
    committed.commit()
    committed.experiment("fresh", "params: {train: {epochs: 1}}\n")
    edit(committed, "experiments/wide/scales.py", "1", "2")
    assert set(affected("HEAD~1")) == {"fresh:train", "fresh:evaluate", "wide:train", "wide:evaluate"}
    assert "wide:train" not in affected("HEAD~1..HEAD")


def test_only_the_named_are_told_when_experiments_are_named(
    committed: Checkout, affected: Callable[..., Affected]
) -> None:
    edit(committed, "common/dataset.py", "import hashlib", "import hashlib  # changed")
    assert {name.partition(":")[0] for name in affected("HEAD", "sharp")} == {"sharp"}


@pytest.mark.parametrize("text", ["stages: [", "stages:\n", "stages: []\n", "- 1\n"])
def test_stages_are_affected_when_their_dvc_yaml_could_not_be_read_before(
    committed: Checkout, affected: Callable[..., Affected], text: str
) -> None:
    (committed.root / "experiments/sharp/dvc.yaml").write_text(text)
    committed.commit()
    sync(committed)
    assert {"sharp:train", "sharp:evaluate"} <= affected().keys()


def test_stages_are_affected_when_their_params_could_not_be_read_before(
    committed: Checkout, affected: Callable[..., Affected]
) -> None:
    path = committed.root / "experiments/sharp/experiment.yaml"
    sound = path.read_text()
    path.write_text("params: [")
    committed.commit()
    path.write_text(sound)
    assert "train.epochs is set to 5 in experiments/sharp/experiment.yaml" in affected()["sharp:train"]


def test_table_names_the_stages_when_no_json_is_asked_for(committed: Checkout, force: Callable[..., Ended]) -> None:
    edit(committed, "experiments/wide/scales.py", "1", "2")
    assert force("plan", "--changed-since", "HEAD").out.splitlines() == [
        "experiment  stage     why",
        "wide        train     experiments/wide/scales.py changed",
        "wide        evaluate  experiments/wide/scales.py changed; train is affected",
    ]


def test_nothing_to_do_is_said_when_nothing_changed(committed: Checkout, force: Callable[..., Ended]) -> None:
    ended = force("plan", "--changed-since", "HEAD")
    assert (ended.status, ended.out) == (0, "nothing to do: no stage is affected\n")


def test_revision_is_refused_when_git_does_not_know_it(committed: Checkout, force: Callable[..., Ended]) -> None:
    ended = force("plan", "--changed-since", "nowhere")
    assert ended.status == 2
    assert ended.err == "error: git knows no revision 'nowhere'\nhint: git fetch, or name another revision\n"


def test_revision_is_refused_when_it_is_empty(committed: Checkout, force: Callable[..., Ended]) -> None:
    assert force("plan", "--changed-since", "").status == 2


def test_changes_are_found_when_the_checkout_is_a_folder_of_a_larger_repository(
    checkout: Checkout, affected: Callable[..., Affected]
) -> None:
    checkout.experiment("wide", "params: {model: {channels: 64}}\n")
    sync(checkout)
    shutil.rmtree(checkout.root / ".git")
    subprocess.run(["git", "init", "--quiet"], cwd=checkout.root.parent, check=True)
    checkout.commit()
    edit(checkout, "experiments/wide/experiment.yaml", "64", "48")
    assert affected()["wide:train"] == ["model.channels: 64 → 48"]


def test_training_is_affected_when_the_one_is_whose_model_it_starts_from(
    committed: Checkout, affected: Callable[..., Affected]
) -> None:
    committed.experiment("started", "params: {model: {init_from: wide}}\n")
    sync(committed)
    committed.commit()
    edit(committed, "experiments/wide/scales.py", "1", "2")
    assert affected()["started:train"] == ["experiments/wide/scales.py changed", "train of wide is affected"]
    edit(committed, "experiments/wide/scales.py", "2", "1")
    edit(committed, "experiments/wide/experiment.yaml", "description: a test", "params: {train: {epochs: 5}}")
    assert affected()["started:train"] == ["train of wide is affected"]
    assert affected("HEAD", "started") == {
        "started:train": ["train of wide is affected"],
        "started:evaluate": ["train is affected"],
    }
