"""The residual network for small images (He et al. 2015, arXiv:1512.03385, section 4.2)."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from common.config import PositiveInt
from common.dataset import Metadata
from common.model import Model
from common.zoo.fitting import MisfitError, count_outputs, read_image_shape


@dataclass(frozen=True)
class Config:
    """Params of the section `model`."""

    depth: PositiveInt = 20  # layers with weights: 6n + 2
    width: PositiveInt = 1  # a factor of the paper's 16, 32 and 64 channels
    outputs: PositiveInt | None = None  # null: one a class, or a single one without classes


class ResNet(Model):
    """A convolution, three stages of n blocks, each stage at half the height and width, and a mean over places.

    Images of any size and number of channels will do; 8 × 8 ones are 2 × 2 at the end.
    """

    def __init__(self, config: Config, metadata: Metadata) -> None:
        super().__init__()
        num_blocks, rest = divmod(config.depth - 2, 6)
        if rest or not num_blocks:
            raise MisfitError(f"a depth of {config.depth}", "6n + 2: 8, 14, 20, 26, 32 …")
        num_channels, _, _ = read_image_shape(metadata)
        first, *widths = (factor * config.width for factor in (16, 16, 32, 64))
        self.stem = nn.Sequential(_convolve(num_channels, first), nn.BatchNorm2d(first), nn.ReLU())
        stages = []
        for num_in, num_out in zip((first, *widths), widths, strict=False):
            stages.append(Block(num_in, num_out, stride=num_out // num_in))
            stages.extend(Block(num_out, num_out) for _ in range(num_blocks - 1))
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(widths[-1], count_outputs(metadata, config.outputs))
        self._initialise()

    def _initialise(self) -> None:
        """Draw the convolutions' weights as the paper: He et al. 2015 (arXiv:1502.01852)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits: (batch, channels, height, width) → (batch, outputs)."""
        logits: Tensor = self.classifier(self.stages(self.stem(inputs)).mean(dim=(2, 3)))
        return logits


class Block(nn.Module):
    """Two 3 × 3 convolutions, and a shortcut without parameters around them (option A of the paper)."""

    def __init__(self, num_in: int, num_out: int, stride: int = 1) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            _convolve(num_in, num_out, stride),
            nn.BatchNorm2d(num_out),
            nn.ReLU(),
            _convolve(num_out, num_out),
            nn.BatchNorm2d(num_out),
        )
        self.stride, self.num_new = stride, num_out - num_in

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features of shape (batch, num_out, ⌈height / stride⌉, ⌈width / stride⌉)."""
        inner: Tensor = self.inner(inputs)
        shortcut = inputs[:, :, :: self.stride, :: self.stride]
        if self.num_new:  # the new channels begin with zeros
            shortcut = functional.pad(shortcut, (0, 0, 0, 0, 0, self.num_new))
        return functional.relu(inner + shortcut)


def _convolve(num_in: int, num_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(num_in, num_out, 3, stride, padding=1, bias=False)
