"""The focal loss (Lin et al. 2017, arXiv:1708.02002): samples that are already right weigh less."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from common import trainer
from common.trainer import Trainer


@dataclass(frozen=True)
class Config(trainer.Config):
    """Params of the section `train`."""

    gamma: float = 2.0


class FocalLossTrainer(Trainer):
    """Weighs each sample's cross entropy by (1 - p)^gamma, p the probability of its target."""

    config: Config

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch: logits (batch, classes), targets (batch,)."""
        losses = functional.cross_entropy(logits, targets, reduction="none")
        return ((1 - (-losses).exp()) ** self.config.gamma * losses).mean()
