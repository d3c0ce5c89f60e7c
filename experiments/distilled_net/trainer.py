"""Distillation (Hinton et al. 2015, arXiv:1503.02531): the outputs of a trained model are targets too."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from common import trainer
from common.dataset import Batch
from common.meter import Values
from common.trainer import Trainer


@dataclass(frozen=True)
class Config(trainer.Config):
    """Params of the section `train`."""

    temperature: float = 4.0
    teacher_share: float = 0.7  # of the loss


class DistillingTrainer(Trainer):
    """Learns from the targets and from the role `teacher`."""

    config: Config

    def compute_loss(self, model: nn.Module, batch: Batch, role: str) -> Tensor | Values:
        """Return the loss of a batch, and the teacher's part of it."""
        temperature, share = self.config.temperature, self.config.teacher_share
        outputs = model(batch.inputs)
        with torch.no_grad():
            wanted = self.cast.others["teacher"](batch.inputs)
        ours, theirs = ((logits / temperature).log_softmax(dim=1) for logits in (outputs, wanted))
        taught = temperature**2 * functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
        return {"loss": (1 - share) * self.loss(outputs, batch.targets) + share * taught, "taught": taught}
