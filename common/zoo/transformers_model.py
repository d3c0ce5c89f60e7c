"""Any classifier of Hugging Face transformers, by its type. Nothing is downloaded: weights come from a local file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from torch import Tensor

from common.config import NonNegativeInt, PositiveInt
from common.dataset import Metadata
from common.zoo.fitting import MisfitError, count_outputs, read_image_shape
from common.zoo.pretrained import PretrainedModel, Weights, check_taken

try:
    import transformers
except ImportError:
    transformers = None

_CLASSIFIERS = ("classifier", "score", "pre_classifier", "pooler", "head")  # what libraries' files call them


@dataclass(frozen=True)
class Config:
    """Params of the section `model`."""

    name: str  # the `model_type` of its config.json, as bert or vit
    arguments: Mapping[str, Any] = field(default_factory=dict)  # what differs in config.json from the type's defaults
    padding: NonNegativeInt = 0  # the token that fills sequences up
    weights: Weights | None = None  # the model.safetensors of a checkpoint
    outputs: PositiveInt | None = None  # null: one a class, or a single one without classes


class TransformersModel(PretrainedModel):
    """A sequence classifier for tokens (length,), an image classifier for (channels, height, width)."""

    def __init__(self, config: Config, metadata: Metadata) -> None:
        super().__init__()
        if transformers is None:
            raise ModuleNotFoundError("transformers is not installed: make extras NAMES=transformers")
        self.padding, self.is_for_tokens = config.padding, len(metadata.input_shape) == 1
        kind = getattr(transformers, f"AutoModelFor{'Sequence' if self.is_for_tokens else 'Image'}Classification")
        sizes = {"pad_token_id": config.padding} if self.is_for_tokens else _read_image_sizes(metadata)
        sizes["num_labels"] = count_outputs(metadata, config.outputs)
        architecture = _make_architecture(config.name, {**sizes, **config.arguments}, metadata)
        try:
            self.model = kind.from_config(architecture)
        except ValueError as error:  # several lines where there is no such classifier of this type
            raise ValueError(str(error).partition("\n")[0]) from None
        state = self.read_weights(config.weights)
        if state is not None:
            self.model = _load(type(self.model), architecture, state)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits: tokens (batch, length) or images (batch, channels, height, width) → (batch, outputs)."""
        self.check_weights()
        if self.is_for_tokens:
            seen = inputs != self.padding
            seen[:, 0] = True  # a sequence of padding alone has something to be looked at
            logits: Tensor = self.model(input_ids=inputs, attention_mask=seen.long()).logits
        else:
            logits = self.model(pixel_values=inputs).logits
        return logits


def _read_image_sizes(metadata: Metadata) -> dict[str, Any]:
    num_channels, height, width = read_image_shape(metadata)
    return {"num_channels": num_channels, "image_size": height if height == width else (height, width)}


def _make_architecture(name: str, arguments: Mapping[str, Any], metadata: Metadata) -> Any:
    """Return the library's config of a type. Raises MisfitError where there is none, or it is for shorter inputs."""
    if name not in transformers.CONFIG_MAPPING:
        similar = ", ".join(get_close_matches(name, transformers.CONFIG_MAPPING)) or "a type of transformers"
        raise MisfitError(f"the type '{name}'", similar)
    architecture = transformers.AutoConfig.for_model(name, **arguments)
    longest = getattr(architecture, "max_position_embeddings", None)
    if len(metadata.input_shape) == 1 and longest and longest < metadata.input_shape[0]:
        raise MisfitError(f"sequences of {metadata.input_shape[0]}", f"at most {longest}, max_position_embeddings")
    return architecture


def _load(model_class: Any, architecture: Any, state: dict[str, Tensor]) -> Any:
    """Return a model with what a file holds; its classifier only where that has the same shape."""
    model, found = model_class.from_pretrained(
        None, config=architecture, state_dict=state, ignore_mismatched_sizes=True, output_loading_info=True
    )
    mismatched = [name for name, *_ in found["mismatched_keys"]]
    check_taken([*sorted(found["missing_keys"]), *mismatched], [], _CLASSIFIERS)
    return model
