"""The model component: a `torch.nn.Module` built from its config and the data's metadata."""

from dataclasses import dataclass

from torch import Tensor, nn

from common.config import Fraction, PositiveInt
from common.dataset import Metadata


@dataclass(frozen=True)
class Config:
    """Params of the section `model`."""

    channels: PositiveInt = 32
    dropout: Fraction = 0.2


class Model(nn.Module):
    """Base class of models: (batch, *input_shape) → (batch, classes) logits, built from (config, metadata)."""


class ConvNet(Model):
    """Two blocks of convolution, batch norm and pooling, and a linear classifier."""

    def __init__(self, config: Config, metadata: Metadata) -> None:
        super().__init__()
        if len(metadata.input_shape) != 3:
            wanted = (
                "wanted images (channels, height, width); for a table, say, components: {model: common.zoo.mlp:MLP}"
            )
            raise ValueError(f"found inputs of shape {metadata.input_shape}, {wanted}")
        num_inputs, height, width = metadata.input_shape
        self.features = nn.Sequential(
            *self.block(num_inputs, config.channels),
            *self.block(config.channels, 2 * config.channels),
            nn.Flatten(),
        )
        num_features = 2 * config.channels * (height // 4) * (width // 4)
        self.classifier = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(num_features, len(metadata.classes)))

    def block(self, num_in: int, num_out: int) -> list[nn.Module]:
        """Return the layers of one block, which halves height and width."""
        return [
            nn.Conv2d(num_in, num_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(num_out),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits of shape (batch, classes)."""
        logits: Tensor = self.classifier(self.features(inputs))
        return logits
