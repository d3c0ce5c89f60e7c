"""The order and the content of batches."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

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


def _count(num_samples: int, loader_class: type[Loader] = Loader, *, training: bool = True, **config: Any) -> Loader:
    """Return a loader of samples that are numbered from 0."""
    rows = torch.arange(num_samples)
    dataset = TensorDataset(rows.float().unsqueeze(1), rows % 3, rows)
    return loader_class(dataset, loader.Config(**{"batch_size": 4, **config}), training=training, seed=0)


def _share(batches: Loader, rank: int, num_processes: int) -> Loader:
    batches.rank, batches.num_processes = rank, num_processes
    return batches


def _noise(batches: Loader, epoch: int) -> Tensor:
    """Return what the transform drew for the first image of an epoch, and one."""
    batch = next(batches.epoch(epoch))
    row = batches.samples.ids.tolist().index(batch.ids[0].item())
    return batch.inputs[0] + batches.samples.inputs[row]


@pytest.mark.parametrize("num_rows", [46, 48])
def test_order_is_refused_when_it_has_not_a_row_a_sample(num_rows: int) -> None:
    class OtherLoader(Loader):
        def order(self, generator: torch.Generator) -> Tensor:
            return torch.arange(num_rows) % 47

    batches = OtherLoader(make_dataset().train, loader.Config(), training=True, seed=0)
    with pytest.raises(ValueError, match=f"OtherLoader.order returned {num_rows} rows, and the split has 47 samples"):
        next(batches.epoch(0))


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


def test_seed_may_be_as_large_as_torch_takes_it() -> None:
    assert len(_ids(make_loader(make_dataset().train, training=True, seed=2**62), 1)) == len(make_dataset().train)


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
    assert not torch.allclose(first, second, atol=1e-4)


@pytest.mark.parametrize(("num_samples", "sizes"), [(0, []), (1, [1]), (16, [16]), (33, [16, 16, 1])])
def test_batches_are_as_many_and_as_large_as_the_length_says(num_samples: int, sizes: list[int]) -> None:
    split = TensorDataset(*(tensor[:num_samples] for tensor in make_dataset().train.tensors))
    for training in (True, False):
        batches = list(make_loader(split, training=training).epoch(0))
        assert [len(batch.ids) for batch in batches] == sizes
        assert len(make_loader(split, training=training)) == len(sizes)


@pytest.mark.parametrize(("num_samples", "num_batches"), [(23, 5), (24, 6), (3, 0)])
def test_samples_after_the_last_full_batch_are_left_out_when_the_config_says_so(
    num_samples: int, num_batches: int
) -> None:
    batches = _count(num_samples, drop_last=True)
    assert [len(batch.ids) for batch in batches.epoch(1)] == [4] * num_batches
    assert (len(batches), batches.num_samples) == (num_batches, 4 * num_batches)
    assert {batches.size(index) for index in range(num_batches)} <= {4}
    evaluated = _count(num_samples, training=False, drop_last=True)
    assert _ids(evaluated, 0) == list(range(num_samples))


def test_other_samples_are_left_out_in_another_epoch() -> None:
    batches = _count(23, drop_last=True)
    assert len({frozenset(_ids(batches, epoch)) for epoch in range(9)}) > 1


@pytest.mark.parametrize("config", [{}, {"drop_last": True}, {"shuffle_window": 10}])
@pytest.mark.parametrize("training", [True, False])
def test_epoch_begins_and_ends_anywhere(training: bool, config: dict[str, Any]) -> None:
    batches = _count(43, InvertingLoader, training=training, **config)
    whole = [(batch.inputs, batch.ids) for batch in batches.epoch(2)]
    for start, stop in ((0, None), (3, None), (3, 7), (len(batches) - 1, None), (0, 0), (5, 3), (4, 99), (99, None)):
        part = list(batches.epoch(2, start, stop))
        assert len(part) == len(whole[start:stop])
        for batch, (inputs, ids) in zip(part, whole[start:stop], strict=True):
            assert torch.equal(batch.inputs, inputs)
            assert torch.equal(batch.ids, ids)


@pytest.mark.parametrize("num_processes", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("num_samples", [16, 17, 18, 23])
def test_shares_of_all_processes_are_each_batch_exactly_once(num_processes: int, num_samples: int) -> None:
    batches = _count(num_samples)
    for index, whole in enumerate(batches.epoch(3)):
        assert len(whole.ids) == batches.size(index)
        seen = []
        for rank in range(num_processes):
            (share,) = _share(_count(num_samples), rank, num_processes).epoch(3, index, index + 1)
            assert 1 <= len(share.ids) <= -(-len(whole.ids) // num_processes)
            if rank < len(whole.ids):
                seen += share.ids.tolist()
            else:  # there is nothing left for it: it has a sample that counts for nothing
                assert set(share.ids.tolist()) <= set(whole.ids.tolist())
        assert sorted(seen) == sorted(whole.ids.tolist())


def test_processes_draw_differently_in_a_transform() -> None:
    noises = [_noise(_share(_inverting(training=True), rank, 2), 1) for rank in (0, 1)]
    assert not torch.allclose(*noises, atol=1e-4)


def test_transform_of_a_batch_is_the_same_when_the_epoch_begins_there() -> None:
    batches = _inverting(training=True)
    whole = [batch.inputs for batch in batches.epoch(1)]
    torch.manual_seed(5)
    (again,) = batches.epoch(1, 1, 2)
    assert torch.equal(again.inputs, whole[1])


@pytest.mark.parametrize("shuffle_window", [1, 4, 10, 64, 1000])
def test_each_sample_comes_once_when_windows_are_shuffled(shuffle_window: int) -> None:
    batches = _count(203, shuffle_window=shuffle_window)
    epochs = [_ids(batches, epoch) for epoch in (1, 2, 1)]
    assert epochs[0] == epochs[2]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(203))
    for batch in batches.epoch(1):
        assert torch.equal(batch.inputs[:, 0].long(), batch.ids)
        assert torch.equal(batch.targets, batch.ids % 3)


def test_rows_of_a_window_come_from_few_blocks() -> None:
    ids = torch.tensor(_ids(_count(4096, shuffle_window=256), 1))
    blocks = 256 // 8
    for window in torch.split(ids, 256):
        assert len(set((window // blocks).tolist())) == 8
        assert (window.diff() == 1).sum() < 32  # of 255: the rows of a block do not come one after the other
    assert len(set((ids[:256] // 256).tolist())) > 1  # they do not stand beside each other


class ShortLoader(Loader):
    """Draws half of the rows."""

    def draw(self, epoch: int) -> torch.Tensor:
        """Return every second row."""
        return super().draw(epoch)[::2]


class CuttingLoader(Loader):
    """Keeps ten samples."""

    def __init__(self, dataset: TensorDataset, config: loader.Config, *, training: bool, seed: int) -> None:
        super().__init__(dataset, config, training=training, seed=seed)
        self.samples = Batch(*(tensor[:10] for tensor in self.samples))
        self.place(torch.device("cpu"))


def test_drawing_too_few_rows_is_an_error_and_no_short_epoch() -> None:
    with pytest.raises(ValueError, match=r"ShortLoader.draw returned too few rows for 5 batches of 4"):
        _ids(_count(20, ShortLoader), 1)


def test_samples_may_be_cut_when_a_loader_is_made() -> None:
    batches = _count(20, CuttingLoader)
    assert (len(batches), sorted(_ids(batches, 1))) == (3, list(range(10)))


@pytest.mark.parametrize("channels_last", [True, False])
def test_images_are_channels_last_when_they_are_placed_so(channels_last: bool) -> None:
    images, rows = torch.rand(6, 3, 4, 4), torch.arange(6)
    batches = Loader(TensorDataset(images, rows, rows), loader.Config(4), training=False, seed=0)
    batches.place(torch.device("cpu"), channels_last=channels_last)
    for batch in batches.epoch(0):
        assert batch.inputs.is_contiguous(memory_format=torch.channels_last) == channels_last
        assert torch.equal(batch.inputs, images[batch.ids])


def test_samples_that_are_no_images_stay_as_they_are_when_images_would_be_channels_last() -> None:
    batches = _count(6)
    batches.place(torch.device("cpu"), channels_last=True)
    assert sorted(_ids(batches, 0)) == list(range(6))


@pytest.mark.gpu
@pytest.mark.parametrize("placement", ["device", "host", "auto"])
@pytest.mark.parametrize("config", [{}, {"shuffle_window": 16}])
def test_batches_on_a_gpu_are_those_on_the_cpu(placement: str, config: dict[str, Any]) -> None:
    batches = _count(203, placement=placement, **config)
    expected = [batch.ids.tolist() for batch in batches.epoch(1)]
    batches.place(torch.device("cuda"))
    for start in (0, 7):
        found = list(batches.epoch(1, start))
        assert {tensor.device.type for batch in found for tensor in batch} == {"cuda"}
        assert [batch.ids.tolist() for batch in found] == expected[start:]


def test_images_of_whole_numbers_reach_the_model_as_numbers_from_0_to_1() -> None:
    inputs = torch.tensor([[[[0, 51]]], [[[255, 102]]]], dtype=torch.uint8)
    split = TensorDataset(inputs, torch.arange(2), torch.arange(2))
    (batch,) = Loader(split, loader.Config(), training=False, seed=0).epoch(0)
    assert torch.equal(batch.inputs, torch.tensor([[[[0, 0.2]]], [[[1, 0.4]]]]))
