"""The centre of images."""

from dataclasses import dataclass

from common.config import PositiveInt
from common.samples import BadSourceError, Samples, Transform, are_masks


@dataclass(frozen=True)
class Crop(Transform):
    """Inputs (samples, channels, height, width), and masks with them; an odd row or column falls below or right."""

    size: PositiveInt | tuple[PositiveInt, PositiveInt]  # in pixels: of both sides, or height and width

    def __call__(self, samples: Samples) -> Samples:
        """Return the samples with the centres of images. Raises BadSourceError where these are smaller, or none."""
        images = samples.inputs
        if getattr(images, "ndim", 0) != 4:
            raise BadSourceError("'crop' wants images (channels, height, width)")
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
        if top < 0 or left < 0:
            found = " × ".join(map(str, images.shape[2:]))
            raise BadSourceError(f"'crop' wants {height} × {width} pixels, and images are {found}")
        places = (..., slice(top, top + height), slice(left, left + width))
        targets = samples.targets
        if are_masks(targets, images):
            targets = targets[places].contiguous()
        return samples._replace(inputs=images[places].contiguous(), targets=targets)
