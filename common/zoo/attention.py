"""The block that transformers are made of."""

from torch import Tensor, nn
from torch.nn import functional

from common.zoo.fitting import MisfitError


class Block(nn.Module):
    """Self-attention and a perceptron, each behind a layer norm and beside a shortcut (arXiv:2002.04745, pre-norm)."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(dim), Attention(dim, heads, dropout)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, mlp_ratio * dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(mlp_ratio * dim, dim),
            nn.Dropout(dropout),
        )

    def forward(self, inputs: Tensor, seen: Tensor | None = None) -> Tensor:
        """Map (batch, length, dim) to the same shape; `seen`, (batch, length) bool, says which places count."""
        inputs = inputs + self.attention(self.attention_norm(inputs), seen)
        outputs: Tensor = inputs + self.mlp(self.mlp_norm(inputs))
        return outputs


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        if dim % heads:
            raise MisfitError(f"dim {dim} with {heads} heads", "a dim that the heads divide")
        self.heads = heads
        self.project_in, self.project_out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor, seen: Tensor | None = None) -> Tensor:
        """Map (batch, length, dim) to the same shape; places that are not `seen` are looked at by none."""
        query, key, value = self.project_in(inputs).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if seen is None else seen[:, None, None, :]  # the same for every head and query
        mixed = functional.scaled_dot_product_attention(query, key, value, mask)  # (batch, heads, length, dim / heads)
        outputs: Tensor = self.dropout(self.project_out(mixed.transpose(1, 2).flatten(2)))
        return outputs


def initialise_linears(model: nn.Module) -> None:
    """Draw the weights of all linear layers as Glorot & Bengio 2010, which also suits few dims; biases are zero.

    Queries, keys and values are layers of their own, as in the authors' code of the vision transformer.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            for part in module.weight.detach().chunk(3 if name.endswith("project_in") else 1):
                nn.init.xavier_uniform_(part)
            nn.init.zeros_(module.bias)
