"""Models of transformers."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from common.saved_model import read_model, write_model
from common.zoo import transformers_model
from common.zoo.pretrained import Weights, WeightsFileError
from common.zoo.transformers_model import Config, TransformersModel
from tests.common.zoo.cases import make_metadata

TOKENS, IMAGES = make_metadata((7,), "int64"), make_metadata((1, 8, 8))
SMALL = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
BERT = Config("bert", {**SMALL, "vocab_size": 20})


def _save_encoder(folder: Path, arguments: dict[str, int]) -> Weights:
    """Write what a BERT without a classifier learned."""
    library, path = transformers_model.transformers, folder / "pretrained.safetensors"
    model = library.BertModel(library.BertConfig(**arguments), add_pooling_layer=False)
    save_file(model.state_dict(), path)
    return Weights(str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def test_error_names_the_extra_when_transformers_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers_model, "transformers", None)
    with pytest.raises(ModuleNotFoundError, match=r"make extras NAMES=transformers$"):
        TransformersModel(BERT, TOKENS)


def test_sequences_of_tokens_are_classified_whatever_their_padding(tmp_path: Path) -> None:
    model = TransformersModel(BERT, TOKENS).eval()
    tokens = torch.tensor([[3, 1, 4, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0]])
    outputs = model(tokens)
    assert outputs.shape == (2, 3)
    torch.testing.assert_close(model(tokens[:, :3]), outputs)
    assert model(torch.zeros_like(tokens)).isfinite().all()
    write_model(model, BERT, TOKENS, tmp_path)
    assert torch.equal(read_model(TransformersModel, tmp_path).eval()(tokens), outputs)


def test_images_are_classified() -> None:
    model = TransformersModel(Config("vit", {**SMALL, "patch_size": 4}), IMAGES)
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 3)


def test_weights_are_those_of_the_file_but_for_the_classifier(tmp_path: Path) -> None:
    weights = _save_encoder(tmp_path, {**SMALL, "vocab_size": 20})
    ours = TransformersModel(Config("bert", BERT.arguments, weights=weights), TOKENS).model.bert.state_dict()
    for name, tensor in load_file(weights.path).items():
        assert torch.equal(ours[name], tensor)


def test_error_is_one_line_when_weights_are_of_another_size(tmp_path: Path) -> None:
    weights = _save_encoder(tmp_path, {**SMALL, "vocab_size": 30})
    with pytest.raises(WeightsFileError, match=r"^`model.weights` do not fit: '\S+word_embeddings.weight' is missing$"):
        TransformersModel(Config("bert", BERT.arguments, weights=weights), TOKENS)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config("brt"), "found the type 'brt', wanted .*bert"),
        (Config("bert", {**BERT.arguments, "max_position_embeddings": 6}), "found sequences of 7, wanted at most 6"),
        (Config("clip_text_model", SMALL), "^Unrecognized configuration class .*$"),
    ],
)
def test_error_is_one_line_when_a_type_does_not_fit(config: Config, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        TransformersModel(config, TOKENS)
    assert "\n" not in str(caught.value)
