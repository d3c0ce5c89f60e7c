"""How a training is divided: epochs into batches, and batches into steps, which are updates of the weights."""

from dataclasses import dataclass

from common.loader import Loader


@dataclass(frozen=True)
class Steps:
    """Counts of one training. Epochs count from 1, batches of an epoch and steps done from 0."""

    loader: Loader
    accumulate: int  # batches a step
    total: int  # steps of the whole training

    @classmethod
    def plan(cls, loader: Loader, accumulate: int, epochs: int | None, steps: int | None) -> "Steps":
        """Return the counts of a training that ends after so many epochs or steps, whichever comes first.

        Raises ValueError where nothing ends it, or there is nothing to train.
        """
        size, num_samples = loader.config.batch_size, len(loader.samples.ids)
        if epochs is None and steps is None:
            raise ValueError("training has no end: give train.epochs or train.steps")
        if num_samples == 0:
            raise ValueError("the train split is empty: lower data.valid_fraction and data.test_fraction")
        if size > num_samples:
            raise ValueError(f"loader.batch_size is {size}, and the train split has {num_samples} samples: lower it")
        in_epoch = -(-len(loader) // accumulate)
        limits = [limit for limit in (steps, None if epochs is None else epochs * in_epoch) if limit is not None]
        return cls(loader, accumulate, min(limits))

    @property
    def in_epoch(self) -> int:
        """The number of steps in a whole epoch."""
        return -(-len(self.loader) // self.accumulate)

    @property
    def num_epochs(self) -> int:
        """The number of epochs, the last of them perhaps cut short."""
        return -(-self.total // self.in_epoch)

    @property
    def num_samples(self) -> int:
        """The number of samples of the whole training, as many times as they are seen."""
        return round(self.total / self.in_epoch * self.loader.num_samples)

    def end(self, epoch: int) -> int:
        """Return the batch before which an epoch ends."""
        left = self.total - (epoch - 1) * self.in_epoch
        return min(len(self.loader), left * self.accumulate)

    def is_first(self, batch: int) -> bool:
        """Say whether a step begins with this batch."""
        return batch % self.accumulate == 0

    def is_last(self, epoch: int, batch: int) -> bool:
        """Say whether a step ends with this batch."""
        return (batch + 1) % self.accumulate == 0 or batch + 1 == self.end(epoch)

    def weight(self, epoch: int, batch: int) -> float:
        """Return what the mean loss over a batch counts in its step; where processes share it, over its share.

        Together they weigh each sample of the step the same: the gradients of processes are averaged.
        """
        num_processes = self.loader.num_processes
        if self.accumulate == num_processes == 1:
            return 1.0
        first = batch - batch % self.accumulate
        sizes = [self.loader.size(index) for index in range(first, min(first + self.accumulate, self.end(epoch)))]
        return self.loader.share(batch) * num_processes / sum(sizes)
