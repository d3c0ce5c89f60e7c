"""A plain convolutional network in blocks, as VGG (Simonyan & Zisserman 2014, arXiv:1409.1556) with batch norm."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from common.config import Fraction, PositiveInt
from common.dataset import Metadata
from common.model import Model
from common.zoo.fitting import MisfitError, count_outputs, read_image_shape


@dataclass(frozen=True)
class Config:
    """Params of the section `model`."""

    widths: tuple[PositiveInt, ...] = (32, 64)  # the channels of each block, which halves height and width
    convolutions: PositiveInt = 2  # a block
    dropout: Fraction = 0.0  # before the classifier
    outputs: PositiveInt | None = None  # null: one a class, or a single one without classes


class CNN(Model):
    """Blocks of 3 × 3 convolutions and max pooling, and a linear classifier of all that is left."""

    def __init__(self, config: Config, metadata: Metadata) -> None:
        super().__init__()
        num_channels, height, width = read_image_shape(metadata)
        shrinking = 2 ** len(config.widths)
        if min(height, width) < shrinking:
            needed = f"at least {shrinking} × {shrinking} for {len(config.widths)} blocks, which halve it each"
            raise MisfitError(f"images of {height} × {width}", needed)
        widths = (num_channels, *config.widths)
        blocks = [layer for pair in pairwise(widths) for layer in _make_block(*pair, config.convolutions)]
        num_features = widths[-1] * (height // shrinking) * (width // shrinking)
        self.features = nn.Sequential(*blocks, nn.Flatten())
        linear = nn.Linear(num_features, count_outputs(metadata, config.outputs))
        self.classifier = nn.Sequential(nn.Dropout(config.dropout), linear)
        self._initialise()

    def _initialise(self) -> None:
        """Draw the convolutions' weights as He et al. 2015 (arXiv:1502.01852)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits: (batch, channels, height, width) → (batch, outputs)."""
        logits: Tensor = self.classifier(self.features(inputs))
        return logits


def _make_block(num_in: int, num_out: int, num_convolutions: int) -> Iterator[nn.Module]:
    for index in range(num_convolutions):
        yield nn.Conv2d(num_out if index else num_in, num_out, 3, padding=1, bias=False)
        yield nn.BatchNorm2d(num_out)
        yield nn.ReLU()
    yield nn.MaxPool2d(2)
