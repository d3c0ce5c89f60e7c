"""Which samples are for training, validation and test."""

from collections import Counter
from typing import Any

import pytest
import torch

from common.data import Config
from common.dataset import SPLITS
from common.hashing import find_keys
from common.samples import BadSourceError, Samples
from common.splits import Strata, assign_splits

CONFIG = Config(valid_fraction=0.1, test_fraction=0.2)


def make(num: int = 500, **fields: Any) -> Samples:
    """Return samples that are nothing but ids, and what else is given."""
    return Samples(**{"inputs": torch.zeros(num, 1), "targets": torch.zeros(num), "ids": torch.arange(num), **fields})


def split(samples: Samples, config: Config = CONFIG) -> list[str]:
    """Return the split of each sample by name."""
    return [SPLITS[index] for index in assign_splits(samples, find_keys(samples.ids), config).tolist()]


def test_split_of_a_sample_is_the_same_whatever_else_is_split() -> None:
    together = split(make(500))
    assert [split(make(1, ids=torch.tensor([key])))[0] for key in range(500)] == together
    assert split(make(500, ids=torch.arange(500).flip(0))) == together[::-1]


def test_split_changes_when_the_split_seed_does() -> None:
    assert split(make()) != split(make(), Config(split_seed=1))


def test_splits_have_about_the_fractions_asked_for() -> None:
    counts = Counter(split(make(10_000)))
    assert counts["test"] / 10_000 == pytest.approx(0.2, abs=0.02)
    assert counts["valid"] / 10_000 == pytest.approx(0.1, abs=0.02)


def test_valid_is_empty_when_its_fraction_is_zero() -> None:
    assert set(split(make(), Config(valid_fraction=0.0))) == {"train", "test"}


def test_samples_with_names_are_split_by_these() -> None:
    names = [f"image {place}" for place in range(500)]
    assert split(make(ids=names))[::-1] == split(make(ids=names[::-1]))
    assert set(split(make(ids=names))) == set(SPLITS)


def test_samples_of_a_group_stay_together() -> None:
    groups = [f"patient {place % 200}" for place in range(500)]
    found = split(make(groups=groups), Config(split_by="group"))
    assert len({(group, name) for group, name in zip(groups, found, strict=True)}) == 200
    assert set(found) == set(SPLITS)


def test_each_sample_is_in_the_test_split_of_exactly_one_fold() -> None:
    folds = [split(make(), Config(folds=5, fold=fold)) for fold in range(5)]
    assert all(names.count("test") == 1 for names in zip(*folds, strict=True))
    assert all(fold.count("test") == pytest.approx(100, abs=35) for fold in folds)
    assert all(fold.count("valid") == pytest.approx(40, abs=25) for fold in folds)


def test_splits_by_time_begin_where_params_say() -> None:
    times = ["2019-12-31", "2020-01-01", "2020-05-31T10:00", "2020-06-01", "2021-01-01"]
    config = Config(valid_from="2020-01-01", test_from="2020-06-01")
    assert split(make(5, times=times), config) == ["train", "valid", "valid", "test", "test"]
    assert split(make(3, times=[1, 2.5, 3]), Config(test_from=2.5)) == ["train", "test", "test"]


def test_given_splits_are_kept_and_validation_is_taken_from_train() -> None:
    given = ["train"] * 400 + ["test"] * 100
    found = split(make(splits=given))
    assert found[400:] == ["test"] * 100
    assert found[:400].count("valid") == pytest.approx(40, abs=20)
    assert split(make(splits=given), Config(valid_fraction=0.0)) == given


def test_given_splits_are_kept_when_there_is_one_for_validation() -> None:
    given = ["train", "valid", "test"] * 10
    assert split(make(30, splits=given), Config(valid_fraction=0.0)) == given


@pytest.mark.parametrize(
    ("fields", "config", "message"),
    [
        ({}, {"split_by": "group"}, "data.split_by: group needs groups of the samples, and the source gives none"),
        ({}, {"test_from": 3}, "data.test_from needs times of the samples, and the source gives none"),
        ({}, {"folds": 3, "fold": 3}, "data.fold is 3, and there are data.folds = 3: 0 … 2"),
        ({"times": ["a"] * 500}, {"test_from": 3}, "times do not compare with data.test_from"),
        ({"splits": ["train", "dev"] * 250}, {}, "the source has a split 'dev', wanted train, valid, test"),
        (
            {"splits": ["train", "valid"] * 250},
            {},
            "the source gives a valid split of its own: set",
        ),
    ],
)
def test_splitting_is_refused_when(fields: dict[str, Any], config: dict[str, Any], message: str) -> None:
    with pytest.raises(BadSourceError) as caught:
        split(make(**fields), Config(**config))
    assert str(caught.value).startswith(message)


def stratify(samples: Samples, config: Config = CONFIG) -> dict[str, list[str]]:
    """Return the splits of the samples of each class."""
    strata = Strata(config)
    for part in (samples.select(torch.arange(0, 100)), samples.select(torch.arange(100, len(samples.ids)))):
        strata.add(part, find_keys(part.ids))
    strata.finish()
    splits = assign_splits(samples, find_keys(samples.ids), config, strata)
    found: dict[str, list[str]] = {}
    for label, split in zip(samples.targets, splits.tolist(), strict=True):
        found.setdefault(str(label), []).append(SPLITS[split])
    return found


LABELS = ["rare" if place % 50 == 7 else "odd" if place % 2 else "even" for place in range(500)]


def test_each_class_has_its_share_in_every_split() -> None:
    found = {label: Counter(splits) for label, splits in stratify(make(targets=LABELS)).items()}
    assert found["rare"] == {"train": 7, "valid": 1, "test": 2}
    assert found["even"] == {"train": 175, "valid": 25, "test": 50}


def test_class_indices_are_stratified_as_labels_are() -> None:
    found = stratify(make(targets=torch.tensor([label == "rare" for label in LABELS]).long()))
    assert Counter(found["tensor(1)"]) == {"train": 7, "valid": 1, "test": 2}


def test_order_of_samples_does_not_matter_to_strata() -> None:
    backwards = make(targets=LABELS[::-1], ids=torch.arange(500).flip(0))
    assert stratify(backwards)["rare"] == stratify(make(targets=LABELS))["rare"][::-1]


def test_added_samples_move_few_between_strata() -> None:
    before, after = stratify(make(targets=LABELS)), stratify(make(510, targets=[*LABELS, *["even"] * 10]))
    assert after["odd"] == before["odd"]
    moved = sum(one != other for one, other in zip(before["even"], after["even"], strict=False))
    assert moved <= 6


def test_folds_of_strata_have_each_class() -> None:
    config = Config(folds=5, fold=3, valid_fraction=0.0)
    assert Counter(stratify(make(targets=LABELS), config)["rare"]) == {"train": 8, "test": 2}


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (Config(split_by="group"), {"groups": ["a"] * 500}, "neither split_by: group nor times"),
        (Config(test_from=3), {"times": range(500)}, "neither split_by: group nor times"),
        (CONFIG, {}, "one class for each sample"),
        (CONFIG, {"targets": torch.zeros(500, 2)}, "one class for each sample"),
    ],
)
def test_what_has_no_strata_is_refused(config: Config, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadSourceError, match=message):
        stratify(make(**fields), config)


def test_samples_that_a_transform_made_have_no_strata() -> None:
    strata = Strata(CONFIG)
    strata.add(make(targets=LABELS), torch.arange(500))
    strata.finish()
    with pytest.raises(BadSourceError, match="a transform has made other samples"):
        strata.place(torch.tensor([3, 700]))


def test_strata_are_those_of_the_train_samples_where_the_source_gives_splits() -> None:
    given = ["test" if place < 100 else "train" for place in range(500)]
    found = stratify(make(targets=LABELS, splits=given), Config(valid_fraction=0.25))
    assert Counter(found["rare"]) == {"train": 6, "valid": 2, "test": 2}
    assert Counter(found["odd"]) == {"train": 144, "valid": 48, "test": 48}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(folds=5), "they go with no data.folds"),
        (Config(folds=5, fold=5), "data.fold is 5"),
        (Config(valid_from=3), "data.valid_from needs data.test_from"),
    ],
)
def test_params_that_would_do_nothing_are_refused(config: Config, message: str) -> None:
    with pytest.raises(BadSourceError, match=message):
        split(make(splits=["train"] * 500, times=range(500)), config)
