"""How samples are split and described."""

import statistics

import pytest
import torch

from common.data import Config, DataModule, Samples
from common.dataset import SPLITS
from common.samples import BadSourceError
from tests.datasets import Dots, make_dataset, prepare

CONFIG = Config(valid_fraction=0.1, test_fraction=0.2)
DIGITS = Config(source={"name": "digits"})


class MoreDots(Dots):
    """The same dots and as many new ones."""

    num_samples = 2 * Dots.num_samples


class BrightDots(Dots):
    """Dots, twice as bright."""

    def transform(self, samples: Samples) -> Samples:
        """Return the samples with their inputs doubled."""
        return samples._replace(inputs=2 * samples.inputs)


def test_no_sample_moves_when_samples_are_added() -> None:
    before, after = prepare(Dots(CONFIG)), prepare(MoreDots(CONFIG))
    for name in SPLITS:
        assert set(before.split(name).tensors[2].tolist()) < set(after.split(name).tensors[2].tolist())


def test_every_sample_is_in_exactly_one_split_with_its_target() -> None:
    dataset, samples = make_dataset(), Dots(CONFIG).read()
    splits = [dataset.split(name).tensors for name in SPLITS]
    ids = torch.cat([tensors[2] for tensors in splits])
    assert sorted(ids.tolist()) == samples.ids.tolist()
    assert torch.equal(torch.cat([tensors[1] for tensors in splits]), samples.targets[ids])
    assert torch.equal(torch.cat([tensors[0] for tensors in splits]), samples.inputs[ids])


def test_transform_changes_every_split() -> None:
    plain, bright = make_dataset(), prepare(BrightDots(CONFIG))
    for name in SPLITS:
        assert torch.equal(2 * plain.split(name).tensors[0], bright.split(name).tensors[0])


def test_metadata_describes_the_train_inputs() -> None:
    dataset = make_dataset()
    values = dataset.train.tensors[0].double().flatten().tolist()
    assert dataset.metadata.statistics["mean"] == pytest.approx(statistics.fmean(values))
    assert dataset.metadata.statistics["std"] == pytest.approx(statistics.stdev(values))
    assert dataset.metadata.num_samples == {name: len(dataset.split(name)) for name in SPLITS}


def test_metadata_are_the_same_however_many_cores_add_them_up() -> None:
    before = torch.get_num_threads()
    try:
        found = []
        for num_threads in (1, 2, 4):
            torch.set_num_threads(num_threads)
            found.append(prepare(DataModule(DIGITS)).metadata)
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_source_must_be_given_when_a_data_module_is_written() -> None:
    with pytest.raises(BadSourceError, match="there is no source"):
        prepare(DataModule(CONFIG))
