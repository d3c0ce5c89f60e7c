"""Jobs of a push: each unbuilt stage in one of them, after all that it needs, and no more of them than GitHub takes."""

from collections.abc import Callable

import pytest

from pipeline.matrix import MAX_JOBS, NUM_WAVES, Entry, Matrix, build_matrix
from pipeline.ownership import Ownership, Stage
from pipeline.targets import collect_stages, parse_targets
from tests.checkouts import Checkout, with_bins
from tests.recorded import override, resolve

Estimate = Callable[[Stage], float | None]
SECONDS = {"prepare": 1.0, "train": 10.0, "evaluate": 100.0}


def estimate_all(stage: Stage) -> float | None:
    return SECONDS[stage.name]


def is_anything(_: Stage) -> bool:
    return True


def build(checkout: Checkout, *names: str, fresh: str = "", estimate: Estimate = estimate_all) -> Matrix:
    """Return the matrix of some experiments; all stages are stale but those of `fresh`, as experiment:stage."""
    _, ownership = resolve(checkout)
    return build_matrix(names, ownership, lambda stage: ":".join(stage.id) not in fresh.split(), estimate)


def show(matrix: Matrix) -> list[dict[str, str]]:
    """Return name → targets of the jobs of each wave."""
    return [{entry.name: " ".join(entry.targets) for entry in wave} for wave in matrix.waves]


@pytest.fixture
def family(checkout: Checkout) -> Checkout:
    """`x` has a model of its own, `y` inherits it and evaluates otherwise, `z` only evaluates otherwise."""
    checkout.experiment("x", model=override("model"))
    checkout.experiment("y", "inherits: x\n", evaluator=override("evaluator"))
    checkout.experiment("z", evaluator=override("evaluator"))
    return checkout


def test_there_are_no_jobs_when_nothing_is_stale(family: Checkout) -> None:
    _, ownership = resolve(family)
    matrix = build_matrix(["common", "x", "y", "z"], ownership, lambda _: False, estimate_all)
    assert (matrix.waves, matrix.entries) == (((), (), ()), [])


def test_experiment_is_one_job_when_it_shares_nothing(checkout: Checkout) -> None:
    assert build(checkout, "common").waves == ((Entry("common", ("common",), 111.0),), (), ())


def test_only_what_is_stale_counts_when_a_jobs_length_is_estimated(family: Checkout) -> None:
    (entry,) = build(family, "x", fresh="common:prepare x:train").entries
    assert entry == Entry("x", ("x",), 100.0)


def test_fresh_experiments_have_no_job_when_others_have(family: Checkout) -> None:
    fresh = "common:prepare common:train common:evaluate"
    assert show(build(family, "common", "z", fresh=fresh)) == [{"z": "z"}, {}, {}]


def test_shared_stage_is_a_job_before_its_users_when_several_need_it(family: Checkout) -> None:
    matrix = build(family, "x", "z", fresh="common:train")
    assert show(matrix) == [{"common-prepare": "common:prepare"}, {"x": "x", "z": "z"}, {}]
    assert [entry.seconds for entry in matrix.entries] == [1, 110, 100]


def test_jobs_stand_in_three_waves_when_two_shared_stages_follow_each_other(family: Checkout) -> None:
    assert show(build(family, "x", "y")) == [
        {"common-prepare": "common:prepare"},
        {"x-train": "x:train"},
        {"x": "x", "y": "y"},
    ]


def test_jobs_stand_as_early_as_they_can_when_others_wait_for_more(family: Checkout) -> None:
    family.experiment("w", "params: {data: {split_seed: 9}}\n")
    assert show(build(family, "common", "w", "x", "y", "z")) == [
        {"common-prepare": "common:prepare", "w": "w"},
        {"common-train": "common:train", "x-train": "x:train"},
        {"common": "common", "x": "x", "y": "y", "z": "z"},
    ]


def test_experiment_has_no_job_of_its_own_when_all_that_it_lacks_is_shared(family: Checkout) -> None:
    assert show(build(family, "common", "z", fresh="common:train common:evaluate")) == [
        {"common-prepare": "common:prepare"},
        {"z": "z"},
        {},
    ]


def test_stage_of_an_ancestor_is_named_when_only_one_experiment_needs_it(family: Checkout) -> None:
    assert show(build(family, "y")) == [{"y": "common:prepare x:train y"}, {}, {}]
    assert show(build(family, "y", fresh="common:prepare")) == [{"y": "x:train y"}, {}, {}]


def test_length_is_unknown_when_that_of_a_part_is(family: Checkout) -> None:
    matrix = build(family, "x", "z", estimate=lambda stage: None if stage.name == "train" else 1.0)
    assert {entry.name: entry.seconds for entry in matrix.entries} == {"common-prepare": 1.0, "x": None, "z": None}


# Built models of others


def start_from(checkout: Checkout, **models: str) -> None:
    """Write experiments whose trainings start from the built model of another."""
    for name, model in models.items():
        checkout.experiment(name, f"params: {{model: {{init_from: {model}}}}}\n")


def test_training_is_a_job_before_those_that_take_its_model(checkout: Checkout) -> None:
    start_from(checkout, a="common", b="common")
    assert show(build(checkout, "a", "b", fresh="common:prepare")) == [
        {"common-train": "common:train"},
        {"a": "a", "b": "b"},
        {},
    ]


def test_training_that_is_not_asked_for_is_named_when_one_experiment_takes_its_model(checkout: Checkout) -> None:
    checkout.experiment("wide", "params: {model: {channels: 64}}\n")
    start_from(checkout, a="wide")
    assert show(build(checkout, "a", fresh="common:prepare")) == [{"a": "wide:train a"}, {}, {}]


def test_chain_of_trainings_ends_in_one_job_when_it_is_longer_than_the_waves(checkout: Checkout) -> None:
    start_from(checkout, a="common", b="a", c="b", d="common", e="c")
    matrix = build(checkout, "e", "d", "c", "b", "a", fresh="common:train")
    assert show(matrix) == [
        {"common-prepare": "common:prepare"},
        {"a-train": "a:train", "d": "d"},
        {"a": "a", "e-and-2-more": "b:train c:train e c b"},
    ]
    assert {entry.name: entry.seconds for entry in matrix.waves[2]} == {"a": 100, "e-and-2-more": 330}
    assert len(check_order(matrix, resolve(checkout)[1], "common:train")) == 2 + 5 * 2


def test_chains_are_jobs_of_their_own_when_they_share_nothing_that_is_deep(checkout: Checkout) -> None:
    start_from(checkout, a="common", b="a", c="b", k="common", m="k", n="m")
    matrix = build(checkout, "a", "b", "c", "k", "m", "n", fresh="common:train")
    assert [entry.name for entry in matrix.waves[2]] == ["a", "b-and-1-more", "k", "m-and-1-more"]
    assert len(check_order(matrix, resolve(checkout)[1], "common:train")) == 2 + 6 * 2


# Many


def make_many(checkout: Checkout, count: int) -> Ownership:
    """Write experiments that evaluate the common model otherwise, each its own way."""
    for number in range(count):
        checkout.experiment(f"x{number}", with_bins(number + 20))
    return resolve(checkout)[1]


def check_order(matrix: Matrix, ownership: Ownership, *fresh: str) -> set[str]:
    """Check that each stage is brought up to date by one job, and not before what it needs; return all of them."""
    done = set(fresh)
    for wave in matrix.waves:
        by_job = [_list_done(entry, ownership, done) for entry in wave]
        assert sum(map(len, by_job)) == len(set().union(*by_job)), "two jobs of a wave run the same stage"
        done |= set().union(*by_job)
    return done


def _list_done(entry: Entry, ownership: Ownership, before: set[str]) -> set[str]:
    """Return the stages that a job brings up to date, all of which must find what they need."""
    done: set[str] = set()
    for target in entry.targets:
        name, _, only = target.partition(":")
        for stage in collect_stages(parse_targets([target]), ownership):
            stage_id = ":".join(stage.id)
            if stage.experiment == name and stage_id not in before:
                done.add(stage_id)
            assert stage_id in before | done, f"{entry.name} needs {stage_id}"
        assert not only or target in done
    return done


def test_batches_are_within_the_limit_and_nothing_is_lost_when_there_are_a_thousand(checkout: Checkout) -> None:
    ownership = make_many(checkout, 999)
    names = ["common", *(f"x{number}" for number in range(999))]

    def estimate(stage: Stage) -> float:
        return 1.0 + int(stage.experiment.removeprefix("x")) % 50 if stage.experiment != "common" else 7.0

    matrix = build_matrix(names, ownership, is_anything, estimate)
    assert len(matrix.entries) <= MAX_JOBS < 256  # GitHub takes no more
    assert len(matrix.entries) > MAX_JOBS - 2 * NUM_WAVES
    assert len({entry.name for entry in matrix.entries}) == len(matrix.entries)
    stages = {"common:prepare", "common:train", *(f"{name}:evaluate" for name in names)}
    assert check_order(matrix, ownership) == stages
    assert [len(wave) for wave in matrix.waves][:2] == [1, 1]
    targets = sorted(target for entry in matrix.entries for target in entry.targets)
    assert targets == sorted(["common:prepare", "common:train", *names])
    lengths = [entry.seconds or 0.0 for entry in matrix.waves[2]]
    assert sum(lengths) == sum(1 + number % 50 for number in range(999)) + 7
    assert max(lengths) <= 1.2 * sum(lengths) / len(lengths)


def test_jobs_are_put_together_only_when_there_are_too_many(checkout: Checkout) -> None:
    ownership = make_many(checkout, 8)
    names = [f"x{number}" for number in range(8)]
    matrix = build_matrix(names, ownership, is_anything, estimate_all, max_jobs=10)
    assert show(matrix)[2] == {name: name for name in names}
    matrix = build_matrix(names, ownership, is_anything, estimate_all, max_jobs=9)
    assert [len(wave) for wave in matrix.waves] == [1, 1, 5]
    assert [entry.name for entry in matrix.waves[2]] == [f"batch-3-{number:03d}" for number in range(1, 6)]


@pytest.mark.parametrize("max_jobs", range(3, 12))
def test_limit_holds_when_waves_are_of_very_different_sizes(checkout: Checkout, max_jobs: int) -> None:
    ownership = make_many(checkout, 20)
    matrix = build_matrix([f"x{number}" for number in range(20)], ownership, is_anything, estimate_all, max_jobs)
    assert len(matrix.entries) <= max_jobs
    assert len(check_order(matrix, ownership)) == 22


def test_batches_have_about_as_many_parts_when_no_length_is_known(checkout: Checkout) -> None:
    ownership = make_many(checkout, 20)
    names = [f"x{number}" for number in range(20)]
    matrix = build_matrix(names, ownership, lambda stage: stage.name == "evaluate", lambda _: None, max_jobs=6)
    assert {len(entry.targets) for entry in matrix.entries} == {5}
    assert {entry.seconds for entry in matrix.entries} == {None}


def test_a_part_of_unknown_length_counts_as_a_typical_one_when_batches_are_made(checkout: Checkout) -> None:
    ownership = make_many(checkout, 20)
    names = [f"x{number}" for number in range(20)]
    matrix = build_matrix(
        names,
        ownership,
        lambda stage: stage.name == "evaluate",
        lambda stage: 10.0 if stage.experiment in ("x3", "x4", "x5") else None,
        max_jobs=6,
    )
    assert {len(entry.targets) for entry in matrix.entries} == {5}
