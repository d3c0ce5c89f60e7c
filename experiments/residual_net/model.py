"""Skip connections: each block adds what its convolutions found to what it was given."""

from torch import Tensor, nn

from common.model import ConvNet


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions beside a 1 × 1 convolution, added and pooled (He et al. 2015, arXiv:1512.03385)."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(num_in, num_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(num_out),
            nn.ReLU(),
            nn.Conv2d(num_out, num_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(num_out),
        )
        self.skip = nn.Conv2d(num_in, num_out, 1, bias=False)
        self.pool = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features of shape (batch, num_out, height / 2, width / 2)."""
        features: Tensor = self.pool(self.inner(inputs) + self.skip(inputs))
        return features


class ResidualNet(ConvNet):
    """The common network with residual blocks."""

    def block(self, num_in: int, num_out: int) -> list[nn.Module]:
        """Return the layers of one block, which halves height and width."""
        return [ResidualBlock(num_in, num_out)]
