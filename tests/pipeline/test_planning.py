"""The plan: what would happen to each stage, and the exact words of why."""

import shutil

import pytest

from pipeline.dvccache import hash_out
from pipeline.errors import ConfigError
from pipeline.planning import PlannedStage, Reason, State
from tests.checkouts import Checkout
from tests.recorded import override, plan, read_lock, record, record_run, resolve, stage_of, write_lock

MODEL_WITH_HELPER = override("model", imports="from experiments.x.layers import Scale")


@pytest.fixture
def recorded(checkout: Checkout) -> Checkout:
    """A checkout where everything is up to date: `x` overrides the model and a param of the training."""
    checkout.experiment("x", "params: {train: {epochs: 5}}\n", model=MODEL_WITH_HELPER, layers="Scale = 1\n")
    record(checkout)
    return checkout


def edit(checkout: Checkout, path: str, old: str, new: str) -> None:
    text = (checkout.root / path).read_text()
    assert old in text
    (checkout.root / path).write_text(text.replace(old, new))


def drop_from_cache(checkout: Checkout, experiment: str, stage: str, out: str) -> None:
    """Delete an out from the workspace and its object from the cache."""
    path = checkout.root / stage_of(checkout, experiment, stage).folder / out
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    (entry,) = (entry for entry in read_lock(checkout, experiment)[stage]["outs"] if entry["path"] == out)
    checkout.project().cache.object_path(entry["md5"]).unlink(missing_ok=True)


def describe(planned: PlannedStage) -> tuple[State, list[tuple[str, str, str]]]:
    return planned.state, [(reason.kind, reason.name, reason.text) for reason in planned.reasons]


def find_staleness(checkout: Checkout, experiment: str) -> list[str]:
    """Return why the metrics of an experiment are not those of the present files."""
    project, ownership = resolve(checkout)
    stage = ownership.effective(experiment, "evaluate")
    return [reason.text for reason in project.planner(ownership).find_staleness(stage)]


def test_every_stage_runs_when_nothing_has_run_yet(checkout: Checkout) -> None:
    checkout.experiment("x", model=override("model"))
    common, x = plan(checkout, "common"), plan(checkout, "x")
    new = {name: ("new", name, "has not run yet") for name in ("prepare", "train", "evaluate")}
    assert describe(common["prepare"]) == (State.RUN, [new["prepare"]])
    assert describe(common["train"]) == (
        State.RUN,
        [new["train"], ("upstream", "common:prepare", "prepare runs first")],
    )
    assert describe(x["train"]) == (
        State.RUN,
        [new["train"], ("upstream", "common:prepare", "prepare of common runs first")],
    )
    assert x["evaluate"].why == "has not run yet; prepare of common runs first; train runs first"
    assert x["train"].outs == {}


def test_every_stage_is_up_to_date_when_all_is_recorded(recorded: Checkout) -> None:
    planned = plan(recorded, "x")
    assert {stage.state for stage in planned.values()} == {State.UP_TO_DATE}
    assert [stage.why for stage in planned.values()] == ["", "", ""]
    outs = {entry["path"]: entry["md5"] for entry in read_lock(recorded, "x")["train"]["outs"]}
    assert planned["train"].outs == outs


def test_a_use_says_whose_stage_it_is_when_it_is_inherited(recorded: Checkout) -> None:
    project, ownership = resolve(recorded)
    uses = project.planner(ownership).plan_experiments(["common", "x"])
    assert [(use.experiment, use.planned.stage.name, use.inherited_from) for use in uses] == [
        ("common", "prepare", ""),
        ("common", "train", ""),
        ("common", "evaluate", ""),
        ("x", "prepare", "common"),
        ("x", "train", ""),
        ("x", "evaluate", ""),
    ]


def test_stages_that_read_it_run_when_a_file_changed(recorded: Checkout) -> None:
    edit(recorded, "experiments/x/layers.py", "1", "2")
    planned = plan(recorded, "x")
    assert planned["prepare"].state is State.UP_TO_DATE
    assert describe(planned["train"]) == (
        State.RUN,
        [("file", "experiments/x/layers.py", "experiments/x/layers.py changed")],
    )
    assert describe(planned["evaluate"]) == (
        State.RUN,
        [
            ("file", "experiments/x/layers.py", "experiments/x/layers.py changed"),
            ("upstream", "x:train", "train runs first"),
        ],
    )


def test_an_heir_says_which_file_changed_when_it_is_its_parents(recorded: Checkout) -> None:
    edit(recorded, "common/trainer.py", "import time", "import time  # changed")
    assert describe(plan(recorded, "x")["train"]) == (
        State.RUN,
        [("file", "common/trainer.py", "common/trainer.py changed")],
    )


def test_stage_runs_when_a_file_is_a_new_dependency(recorded: Checkout) -> None:
    recorded.write("experiments/x/scales.py", "ONE = 1\n")
    edit(recorded, "experiments/x/layers.py", "Scale = 1", "from experiments.x.scales import ONE as Scale")
    assert describe(plan(recorded, "x")["train"]) == (
        State.RUN,
        [
            ("file", "experiments/x/layers.py", "experiments/x/layers.py changed"),
            ("file", "experiments/x/scales.py", "experiments/x/scales.py is a new dependency"),
        ],
    )


def test_stage_runs_when_a_file_is_no_dependency_any_more(recorded: Checkout) -> None:
    edit(recorded, "experiments/x/model.py", "from experiments.x.layers import Scale", "")
    assert describe(plan(recorded, "x")["train"]) == (
        State.RUN,
        [
            ("file", "experiments/x/layers.py", "experiments/x/layers.py is no dependency any more"),
            ("file", "experiments/x/model.py", "experiments/x/model.py changed"),
        ],
    )


def test_nothing_runs_when_an_unrelated_file_changed(recorded: Checkout) -> None:
    recorded.write("experiments/x/notes.py", "NOT_IMPORTED = 1\n")
    recorded.write("experiments/x/README.md", "a note\n")
    edit(recorded, "experiments/x/experiment.yaml", "params:", "description: another\nparams:")
    assert {stage.state for stage in plan(recorded, "x").values()} == {State.UP_TO_DATE}


def test_stage_runs_when_a_param_changed(recorded: Checkout) -> None:
    edit(recorded, "experiments/x/experiment.yaml", "epochs: 5", "epochs: 7")
    assert describe(plan(recorded, "x")["train"]) == (
        State.RUN,
        [("param", "train.epochs", "train.epochs: 5 → 7")],
    )


def test_stage_runs_when_a_common_param_changed(recorded: Checkout) -> None:
    edit(recorded, "params.yaml", "batch_size: 64", "batch_size: 32")
    for name in ("common", "x"):
        planned = plan(recorded, name)
        assert planned["prepare"].state is State.UP_TO_DATE
        assert describe(planned["train"]) == (
            State.RUN,
            [("param", "loader.batch_size", "loader.batch_size: 64 → 32")],
        )


def test_stage_runs_when_a_param_is_set_elsewhere(recorded: Checkout) -> None:
    edit(recorded, "experiments/x/experiment.yaml", "epochs: 5", "epochs: 5, optimizer: {weight_decay: 0.05}")
    assert describe(plan(recorded, "x")["train"]) == (
        State.RUN,
        [
            (
                "param",
                "train.optimizer.weight_decay",
                "train.optimizer.weight_decay is no longer read from params.yaml",
            ),
            (
                "param",
                "train.optimizer.weight_decay",
                "train.optimizer.weight_decay is set to 0.05 in experiments/x/experiment.yaml",
            ),
        ],
    )


def test_stage_runs_when_the_result_of_its_upstream_changed(recorded: Checkout) -> None:
    data = "outputs/prepare/data"
    (recorded.root / "common" / data / "metadata.json").write_text("other data\n")
    stages = read_lock(recorded, "common")
    (out,) = (out for out in stages["prepare"]["outs"] if out["path"] == data)
    out["md5"] = hash_out(recorded.root, f"common/{data}", recorded.project().index)
    write_lock(recorded, "common", stages)
    common, x = plan(recorded, "common"), plan(recorded, "x")
    changed, of_common = "the result of prepare changed", "the result of prepare of common changed"
    assert common["prepare"].state is State.UP_TO_DATE
    assert describe(common["train"]) == (State.RUN, [("upstream", data, changed)])
    assert describe(x["train"]) == (State.RUN, [("upstream", f"../../common/{data}", of_common)])


def test_stage_runs_when_it_takes_its_input_from_another_owner(recorded: Checkout) -> None:
    edit(recorded, "experiments/x/experiment.yaml", "params: {", "params: {data: {split_seed: 1}, ")
    assert plan(recorded, "x")["train"].why == (
        "common/outputs/prepare/data is no dependency any more; "
        "experiments/x/outputs/prepare/data is a new dependency; prepare runs first"
    )


@pytest.mark.parametrize("out", ["outputs/train/history.csv", "outputs/train/model"])
def test_result_is_checked_out_when_it_is_missing_but_in_the_cache(recorded: Checkout, out: str) -> None:
    path = recorded.root / "experiments/x" / out
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    planned = plan(recorded, "x")
    assert describe(planned["train"]) == (State.CACHED, [("output", out, f"{out} is missing")])
    assert planned["train"].outs[out]
    assert planned["evaluate"].state is State.UP_TO_DATE


def test_missing_outs_are_counted_when_there_are_several(recorded: Checkout) -> None:
    shutil.rmtree(recorded.root / "experiments/x/outputs/train")
    planned = plan(recorded, "x")["train"]
    assert planned.state is State.CACHED
    assert planned.why == "outputs/train/model and 5 more are missing"


def test_result_is_checked_out_when_it_was_edited(recorded: Checkout) -> None:
    out = "outputs/train/history.csv"
    (recorded.root / "experiments/x" / out).write_text("by hand\n")
    text = "outputs/train/history.csv is not what the stage wrote"
    assert describe(plan(recorded, "x")["train"]) == (State.CACHED, [("output", out, text)])


def test_stage_runs_when_its_result_is_missing_and_the_remote_does_not_exist(recorded: Checkout) -> None:
    out = "outputs/train/model"
    drop_from_cache(recorded, "x", "train", out)
    planned = plan(recorded, "x")
    assert describe(planned["train"]) == (
        State.RUN,
        [("output", out, f"{out} is missing"), ("cache", "train", "not in the cache")],
    )
    assert describe(planned["evaluate"]) == (State.RUN, [("upstream", "x:train", "train runs first")])


def test_result_is_fetched_when_it_is_missing_and_there_is_a_remote(recorded: Checkout) -> None:
    out = "outputs/train/model"
    drop_from_cache(recorded, "x", "train", out)
    (recorded.root.parent / "force-build-storage").mkdir()
    planned = plan(recorded, "x")
    assert describe(planned["train"]) == (State.FETCH, [("output", out, f"{out} is missing")])
    assert planned["evaluate"].state is State.UP_TO_DATE


def test_stage_runs_when_an_out_that_git_keeps_is_missing(recorded: Checkout) -> None:
    (recorded.root.parent / "force-build-storage").mkdir()
    out = "outputs/evaluate/metrics.json"
    (recorded.root / "experiments/x" / out).unlink()
    assert describe(plan(recorded, "x")["evaluate"]) == (State.RUN, [("output", out, f"{out} is missing")])


def test_stage_runs_when_an_out_that_git_keeps_was_edited(recorded: Checkout) -> None:
    out = "outputs/evaluate/metrics.json"
    (recorded.root / "experiments/x" / out).write_text('{"accuracy": 1.0}\n')
    text = f"{out} is not what the stage wrote"
    assert describe(plan(recorded, "x")["evaluate"]) == (State.RUN, [("output", out, text)])


def test_stage_runs_when_its_command_changed(recorded: Checkout) -> None:
    stages = read_lock(recorded, "x")
    stages["train"]["cmd"] = "python train.py"
    write_lock(recorded, "x", stages)
    assert describe(plan(recorded, "x")["train"]) == (
        State.RUN,
        [("command", "force stage train", "the command was 'python train.py'")],
    )


def test_result_is_cached_when_an_earlier_run_had_the_same_inputs(recorded: Checkout) -> None:
    record_run(recorded, "x", "train")
    outs = plan(recorded, "x")["train"].outs
    (recorded.root / "experiments/x/dvc.lock").unlink()
    shutil.rmtree(recorded.root / "experiments/x/outputs")
    planned = plan(recorded, "x")
    again = "an earlier run with the same inputs is in the cache"
    assert describe(planned["train"]) == (
        State.CACHED,
        [("cache", "train", again), ("new", "train", "has not run yet")],
    )
    assert planned["train"].outs == outs
    assert describe(planned["evaluate"]) == (State.RUN, [("new", "evaluate", "has not run yet")])


def test_earlier_run_is_found_when_an_edit_is_taken_back(recorded: Checkout) -> None:
    record_run(recorded, "x", "train")
    stages = read_lock(recorded, "x")
    (dep,) = (dep for dep in stages["train"]["deps"] if dep["path"] == "layers.py")
    dep["md5"] = "0" * 32
    write_lock(recorded, "x", stages)
    planned = plan(recorded, "x")["train"]
    assert planned.state is State.CACHED
    assert planned.why == "an earlier run with the same inputs is in the cache; experiments/x/layers.py changed"


def test_stage_runs_when_an_earlier_run_had_other_inputs(recorded: Checkout) -> None:
    record_run(recorded, "x", "train")
    edit(recorded, "experiments/x/layers.py", "1", "2")
    assert plan(recorded, "x")["train"].state is State.RUN


@pytest.mark.parametrize("text", ["stages: [", ""])
def test_lock_is_named_when_it_cannot_be_read(recorded: Checkout, text: str) -> None:
    (recorded.root / "experiments/x/dvc.lock").write_text(text)
    with pytest.raises(ConfigError, match=r"^experiments/x/dvc\.lock:"):
        plan(recorded, "x")


def test_metrics_are_current_when_nothing_but_git_and_the_lock_are_here(recorded: Checkout) -> None:
    for folder in ("common/outputs/prepare", "common/outputs/train", "experiments/x/outputs/train"):
        shutil.rmtree(recorded.root / folder)
    assert find_staleness(recorded, "x") == []


def test_metrics_are_stale_when_an_input_changed(recorded: Checkout) -> None:
    edit(recorded, "experiments/x/layers.py", "1", "2")
    edit(recorded, "experiments/x/experiment.yaml", "epochs: 5", "epochs: 7")
    assert find_staleness(recorded, "x") == ["experiments/x/layers.py changed", "train.epochs: 5 → 7"]


def test_metrics_are_stale_when_an_input_upstream_changed(recorded: Checkout) -> None:
    edit(recorded, "common/data.py", "import logging", "import logging  # changed")
    assert find_staleness(recorded, "x") == ["common/data.py changed"]


def test_metrics_are_stale_when_they_were_edited(recorded: Checkout) -> None:
    (recorded.root / "experiments/x/outputs/evaluate/metrics.json").write_text('{"accuracy": 1.0}\n')
    assert find_staleness(recorded, "x") == ["outputs/evaluate/metrics.json is not what the stage wrote"]


def test_reasons_are_joined_when_they_are_read_as_one_text(checkout: Checkout) -> None:
    reasons = (Reason("file", "a", "a changed"), Reason("param", "b", "b: 1 → 2"))
    assert PlannedStage(stage_of(checkout, "common", "train"), State.RUN, reasons, {}).why == "a changed; b: 1 → 2"


# Built models of others


@pytest.fixture
def started(checkout: Checkout) -> Checkout:
    """A checkout where everything is up to date, and `y` starts from the model of `x`."""
    checkout.experiment("x", model=override("model"))
    checkout.experiment("y", "params: {model: {init_from: x}}\n")
    record(checkout)
    return checkout


def test_nothing_runs_when_the_model_that_training_starts_from_is_the_recorded_one(started: Checkout) -> None:
    assert {name: planned.state for name, planned in plan(started, "y").items()} == dict.fromkeys(
        ("prepare", "train", "evaluate"), State.UP_TO_DATE
    )
    assert find_staleness(started, "y") == []


def test_training_runs_after_the_one_whose_model_it_starts_from(started: Checkout) -> None:
    edit(started, "experiments/x/experiment.yaml", "description: a test", "params: {train: {epochs: 3}}")
    assert describe(plan(started, "y")["train"]) == (State.RUN, [("upstream", "x:train", "train of x runs first")])
    changed = "train.epochs is set to 3 in experiments/x/experiment.yaml"
    assert changed in find_staleness(started, "y")


def test_training_runs_when_the_model_that_it_starts_from_changed(started: Checkout) -> None:
    path = "outputs/train/model"
    (started.root / "experiments/x" / path / "weights.safetensors").write_text("others\n")
    stages = read_lock(started, "x")
    (out,) = (out for out in stages["train"]["outs"] if out["path"] == path)
    out["md5"] = hash_out(started.root, f"experiments/x/{path}", started.project().index)
    write_lock(started, "x", stages)
    assert describe(plan(started, "y")["train"]) == (
        State.RUN,
        [("upstream", f"../x/{path}", "the result of train of x changed")],
    )
    assert find_staleness(started, "y") == ["the result of train of x changed"]


def test_training_runs_when_the_code_of_the_model_that_it_starts_from_changed(started: Checkout) -> None:
    edit(started, "experiments/x/model.py", "pass", "num = 1")
    assert "experiments/x/model.py changed" in plan(started, "y")["train"].why


def test_training_runs_when_it_starts_from_another_model(started: Checkout) -> None:
    edit(started, "experiments/y/experiment.yaml", "init_from: x", "init_from: common")
    assert plan(started, "y")["train"].why == (
        "common/outputs/train/model is a new dependency; "
        "experiments/x/model.py is no dependency any more; "
        "experiments/x/outputs/train/model is no dependency any more; "
        "model.init_from: x → common"
    )
