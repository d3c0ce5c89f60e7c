"""Small models of the zoo, each with data that it fits."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from common.dataset import Metadata
from common.model import Model
from common.zoo import cnn, gru, mlp, resnet, transformer, vit

IMAGES = (1, 8, 8)
NUM_TOKENS = 11  # 0 is padding


class Case(NamedTuple):
    """A model, its config, and the inputs that it takes."""

    model: type[Model]
    config: Any
    input_shape: tuple[int, ...]
    input_dtype: str = "float32"

    def build(self, classes: tuple[str, ...] = ("a", "b", "c")) -> nn.Module:
        """Return the model for data of these classes, the same at every call."""
        torch.manual_seed(0)
        return self.model(self.config, make_metadata(self.input_shape, self.input_dtype, classes))

    def draw_inputs(self, num_samples: int) -> Tensor:
        """Return samples at random; sequences of tokens end in padding, of another length each."""
        generator = torch.Generator().manual_seed(1)
        shape = (num_samples, *self.input_shape)
        if self.input_dtype != "int64":
            return torch.randn(shape, generator=generator)
        tokens = torch.randint(1, NUM_TOKENS, shape, generator=generator)
        for row in range(num_samples):
            tokens[row, 1 + row % self.input_shape[0] :] = 0
        return tokens


def make_metadata(
    input_shape: tuple[int, ...], input_dtype: str = "float32", classes: tuple[str, ...] = ("a", "b", "c")
) -> Metadata:
    """Return what a model has to know of data."""
    return Metadata("a test", input_shape, input_dtype, classes, {}, {}, ())


CASES = {
    "mlp": Case(mlp.MLP, mlp.Config(hidden=(32,), norm="batch", dropout=0.1), IMAGES),
    "cnn": Case(cnn.CNN, cnn.Config(widths=(4, 8), convolutions=1, dropout=0.1), IMAGES),
    "resnet": Case(resnet.ResNet, resnet.Config(depth=8), IMAGES),
    "vit": Case(vit.ViT, vit.Config(dim=32, depth=2, dropout=0.1), IMAGES),
    "transformer of tokens": Case(
        transformer.TransformerEncoder, transformer.Config(NUM_TOKENS, dim=32, depth=2), (7,), "int64"
    ),
    "transformer of features": Case(
        transformer.TransformerEncoder, transformer.Config(pooling="cls", dim=32, depth=2), (7, 3)
    ),
    "gru of tokens": Case(gru.GRU, gru.Config(NUM_TOKENS, bidirectional=True, layers=2, dropout=0.1), (7,), "int64"),
    "gru of features": Case(gru.GRU, gru.Config(), (7, 3)),
}
