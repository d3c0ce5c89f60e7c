"""The order and the content of batches."""

import pytest
import torch
from torch import Tensor

from common import loader
from common.dataset import Batch
from common.loader import Loader
from tests.datasets import make_dataset, make_loader


class InvertingLoader(Loader):
    """Adds noise from the generator to inverted images: a transform that nobody overlooks."""

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Return the batch, inverted and noisy."""
        return batch._replace(inputs=1 - batch.inputs + torch.rand(batch.inputs.shape, generator=generator))


def _ids(batches: Loader, epoch: int) -> list[int]:
    return torch.cat([batch.ids for batch in batches.epoch(epoch)]).tolist()


def _inverting(*, training: bool) -> Loader:
    return InvertingLoader(make_dataset().train, loader.Config(16), training=training, seed=0)


def _inputs(batches: Loader, epoch: int) -> Tensor:
    return torch.cat([batch.inputs for batch in batches.epoch(epoch)])


def _noise(batches: Loader, epoch: int) -> Tensor:
    """Return what the transform drew for the first image of an epoch, and one."""
    batch = next(batches.epoch(epoch))
    row = batches.samples.ids.tolist().index(batch.ids[0].item())
    return batch.inputs[0] + batches.samples.inputs[row]


@pytest.mark.parametrize("training", [True, False])
def test_each_sample_comes_once_an_epoch(training: bool) -> None:
    split = make_dataset().train
    assert sorted(_ids(make_loader(split, training=training), 3)) == sorted(split.tensors[2].tolist())


def test_order_of_an_epoch_is_the_same_when_asked_again_or_out_of_turn() -> None:
    split = make_dataset().train
    first, second = make_loader(split, training=True), make_loader(split, training=True)
    torch.manual_seed(1)
    expected = [_ids(first, epoch) for epoch in (1, 2, 3)]
    torch.manual_seed(2)
    assert [_ids(second, epoch) for epoch in (3, 2, 1)] == expected[::-1]


def test_order_differs_when_the_epoch_or_the_seed_does() -> None:
    split = make_dataset().train
    orders = [_ids(make_loader(split, training=True, seed=seed), epoch) for seed in (0, 1) for epoch in (1, 2)]
    assert len(set(map(tuple, orders))) == 4


def test_order_is_that_of_the_split_when_evaluating() -> None:
    split = make_dataset().train
    for epoch in (0, 1):
        assert _ids(make_loader(split), epoch) == split.tensors[2].tolist()


def test_inputs_and_targets_stay_with_their_ids_when_shuffled() -> None:
    split = make_dataset().train
    row_of = {sample_id: row for row, sample_id in enumerate(split.tensors[2].tolist())}
    for batch in make_loader(split, training=True).epoch(1):
        rows = [row_of[sample_id] for sample_id in batch.ids.tolist()]
        assert torch.equal(batch.inputs, split.tensors[0][rows])
        assert torch.equal(batch.targets, split.tensors[1][rows])


def test_transform_is_left_out_when_evaluating() -> None:
    assert torch.equal(_inputs(_inverting(training=False), 0), make_dataset().train.tensors[0])


def test_transform_changes_every_batch_when_training() -> None:
    plain = make_loader(make_dataset().train, training=True)
    for ours, theirs in zip(_inverting(training=True).epoch(1), plain.epoch(1), strict=True):
        assert torch.equal(ours.ids, theirs.ids)
        assert ((ours.inputs + theirs.inputs >= 1) & (ours.inputs + theirs.inputs < 2)).all()


def test_transform_draws_the_same_only_when_an_epoch_is_repeated() -> None:
    first, again, second = (_noise(_inverting(training=True), epoch) for epoch in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("num_samples", "sizes"), [(0, []), (1, [1]), (16, [16]), (33, [16, 16, 1])])
def test_batches_are_as_many_and_as_large_as_the_length_says(num_samples: int, sizes: list[int]) -> None:
    split = torch.utils.data.TensorDataset(*(tensor[:num_samples] for tensor in make_dataset().train.tensors))
    for training in (True, False):
        batches = list(make_loader(split, training=training).epoch(0))
        assert [len(batch.ids) for batch in batches] == sizes
        assert len(make_loader(split, training=training)) == len(sizes)
