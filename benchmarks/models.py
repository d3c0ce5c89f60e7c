"""The networks that are trained in benchmarks."""

from torch import Tensor, nn
from torch.nn import functional


def build_mlp() -> nn.Module:
    """Return a perceptron: (batch, 64) → (batch, 10)."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def build_wide_mlp() -> nn.Module:
    """Return a perceptron of 50 million parameters: (batch, 64) → (batch, 10)."""
    return nn.Sequential(
        nn.Linear(64, 5000), nn.ReLU(), nn.Linear(5000, 5000), nn.ReLU(), nn.Linear(5000, 4880), nn.Linear(4880, 10)
    )


class Block(nn.Module):
    """Two 3 × 3 convolutions beside a skip connection."""

    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(num_in, num_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(num_out),
            nn.ReLU(),
            nn.Conv2d(num_out, num_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(num_out),
        )
        self.skip = nn.Conv2d(num_in, num_out, 1, stride, bias=False) if (num_in, stride) != (num_out, 1) else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features of shape (batch, num_out, height / stride, width / stride)."""
        return functional.relu(self.inner(inputs) + (self.skip(inputs) if self.skip else inputs))


class ResNet(nn.Module):
    """A residual network for images (He et al. 2015, arXiv:1512.03385), of four stages."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
        for stage in range(4):
            width = channels * 2**stage
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(Block(width // 2 if stride == 2 else width, width, stride))
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * channels, 10))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, 10) of images (batch, 3, height, width)."""
        return self.layers(inputs)
