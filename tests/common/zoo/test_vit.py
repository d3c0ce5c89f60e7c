"""The vision transformer."""

import pytest
import torch

from common.zoo.fitting import MisfitError
from common.zoo.vit import Config, ViT
from tests.common.zoo.cases import make_metadata


@pytest.mark.parametrize(
    ("dim", "depth", "heads", "millions"), [(768, 12, 12, 86), (1024, 24, 16, 304), (1280, 32, 16, 631)]
)
def test_parameters_are_as_many_as_in_the_paper(dim: int, depth: int, heads: int, millions: int) -> None:
    with torch.device("meta"):  # table 1: Base, Large and Huge, of 86, 307 and 632 million
        model = ViT(Config(16, dim, depth, heads), make_metadata((3, 224, 224)))
    assert sum(parameter.numel() for parameter in model.parameters()) // 10**6 in (millions - 1, millions)


def test_parameters_are_those_of_the_base_model_with_1000_classes() -> None:
    classes = tuple(map(str, range(1000)))
    with torch.device("meta"):
        model = ViT(Config(16, 768, 12, 12), make_metadata((3, 224, 224), classes=classes))
    assert sum(parameter.numel() for parameter in model.parameters()) == 86_567_656


def test_outputs_differ_when_patches_change_places() -> None:
    torch.manual_seed(0)
    model = ViT(Config(dim=16, depth=1), make_metadata((1, 8, 8))).eval()
    torch.nn.init.normal_(model.classifier.weight)
    images = torch.rand(1, 1, 8, 8)
    assert not torch.allclose(model(images), model(images.roll(4, dims=3)), atol=1e-3)


def test_classes_are_equally_likely_at_the_start() -> None:
    assert not ViT(Config(), make_metadata((1, 8, 8)))(torch.rand(2, 1, 8, 8)).any()


def test_error_names_the_sizes_when_patches_do_not_divide_the_image() -> None:
    with pytest.raises(MisfitError, match="found images of 8 × 10 with patches of 4, wanted patches that divide them"):
        ViT(Config(patch=4), make_metadata((1, 8, 10)))


def test_error_names_dim_and_heads_when_heads_do_not_divide_it() -> None:
    with pytest.raises(MisfitError, match="found dim 30 with 4 heads, wanted a dim that the heads divide"):
        ViT(Config(dim=30, heads=4), make_metadata((1, 8, 8)))
