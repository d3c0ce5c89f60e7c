"""Preparation: each image is stretched so that its faintest pixel is 0 and its darkest 1."""

from common.data import DataModule, Samples


class EqualisedContrast(DataModule):
    """Images at full contrast."""

    def transform(self, samples: Samples) -> Samples:
        """Return the samples with every image of (samples, 1, 8, 8) stretched on its own; a blank one stays blank."""
        low = samples.inputs.amin(dim=(1, 2, 3), keepdim=True)
        high = samples.inputs.amax(dim=(1, 2, 3), keepdim=True)
        return samples._replace(inputs=(samples.inputs - low) / (high - low).clamp_min(1 / 16))
