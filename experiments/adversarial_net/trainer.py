"""A GAN whose discriminator classifies (Salimans et al. 2016, arXiv:1606.03498).

An image is real where the sum of exp(logits) is large: the made-up class has the logit 0.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.dataset import Batch
from common.meter import Values
from common.trainer import Trainer
from experiments.adversarial_net.model import AdversarialNet


class AdversarialTrainer(Trainer):
    """Trains the roles `discriminator` and `generator`, each with its own loss."""

    def compute_loss(self, model: nn.Module, batch: Batch, role: str) -> Tensor | Values:
        """Return the loss of one role on a batch."""
        net = cast(AdversarialNet, model)
        return self._discriminate(net, batch) if role == "discriminator" else self._generate(net, batch)

    def _discriminate(self, net: AdversarialNet, batch: Batch) -> Values:
        """Return the loss of telling the classes apart, and real images from made ones."""
        with torch.no_grad():
            made = net.generate(len(batch.inputs), batch.inputs.device)
        logits = net(batch.inputs)
        classified = self.loss(logits, batch.targets)
        real, fake = logits.logsumexp(dim=1), net(made).logsumexp(dim=1)
        told_apart = functional.softplus(-real).mean() + functional.softplus(fake).mean()
        return {"loss": classified + told_apart, "told_apart": told_apart}

    def _generate(self, net: AdversarialNet, batch: Batch) -> Tensor:
        """Return how far the mean features of made images are from those of real ones."""
        made = net.generate(len(batch.inputs), batch.inputs.device)
        wanted = net.discriminator.features(batch.inputs).mean(dim=0).detach()
        return functional.mse_loss(net.discriminator.features(made).mean(dim=0), wanted)
