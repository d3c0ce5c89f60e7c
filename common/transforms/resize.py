"""Images of another size, by bilinear interpolation that averages over what it makes smaller."""

from dataclasses import dataclass

import torch
from torch.nn import functional

from common.config import PositiveInt
from common.samples import BadSourceError, Samples, Transform, are_masks


@dataclass(frozen=True)
class Resize(Transform):
    """Inputs (samples, channels, height, width), which keep their dtype, and masks as targets; any proportions."""

    size: PositiveInt | tuple[PositiveInt, PositiveInt]  # in pixels: of both sides, or height and width

    def __call__(self, samples: Samples) -> Samples:
        """Return the samples with images of that size. Raises BadSourceError where inputs are no images."""
        images = samples.inputs
        if getattr(images, "ndim", 0) != 4 or not (images.is_floating_point() or images.dtype == torch.uint8):
            raise BadSourceError("'resize' wants images (channels, height, width) of uint8 or fractions")
        size = (self.size, self.size) if isinstance(self.size, int) else self.size
        resized = functional.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        targets = samples.targets
        if are_masks(targets, images):  # the nearest pixel: between two classes there is no other
            targets = functional.interpolate(targets[:, None].double(), size, mode="nearest-exact")[:, 0].to(
                targets.dtype
            )
        return samples._replace(inputs=resized, targets=targets)
