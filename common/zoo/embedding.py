"""What sequences begin with: tokens or features become vectors, and padding is told apart."""

from torch import Tensor, nn

from common.zoo.fitting import MisfitError


class Embedding(nn.Module):
    """Tokens (batch, length) or features (batch, length, features) → (batch, length, dim)."""

    def __init__(self, dim: int, vocabulary: int | None, padding: int | None, num_features: int | None) -> None:
        """Take features where there is a number of them, else tokens."""
        super().__init__()
        self.padding = padding if num_features is None else None
        if num_features is not None:
            self.layer: nn.Module = nn.Linear(num_features, dim)
            return
        if padding is not None and padding >= (vocabulary or 0):
            raise MisfitError(f"padding {padding} with a vocabulary of {vocabulary}", "a padding inside the vocabulary")
        self.layer = nn.Embedding(vocabulary or 0, dim, padding)
        nn.init.normal_(self.layer.weight, std=dim**-0.5)  # as the code of Vaswani et al. 2017 (arXiv:1706.03762)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the vectors and which places count, (batch, length) bool, None where all do.

        The first place always counts, so that a sequence of padding alone has something to be looked at.
        """
        vectors: Tensor = self.layer(inputs)
        if self.padding is None:
            return vectors, None
        seen = inputs != self.padding
        seen[:, 0] = True
        return vectors, seen
