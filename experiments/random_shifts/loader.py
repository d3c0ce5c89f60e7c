"""Augmentation: every training image is shifted by up to one pixel each way, anew in every epoch."""

import torch
from torch.nn import functional

from common.dataset import Batch
from common.loader import Loader


class ShiftingLoader(Loader):
    """Shifts images of shape (channels, height, width); the border is empty."""

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Return the batch with each image shifted on its own."""
        num_images, _, height, width = batch.inputs.shape
        padded = functional.pad(batch.inputs, (1, 1, 1, 1))
        device = batch.inputs.device
        down, right = torch.randint(0, 3, (2, num_images, 1, 1), generator=generator, device=device)
        rows = down + torch.arange(height, device=device).view(1, -1, 1)
        columns = right + torch.arange(width, device=device).view(1, 1, -1)
        images = torch.arange(num_images, device=device).view(-1, 1, 1)
        shifted = padded.permute(0, 2, 3, 1)[images, rows, columns].permute(0, 3, 1, 2)
        return batch._replace(inputs=shifted.contiguous())
