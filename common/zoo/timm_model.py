"""Any image model of timm, by name. Nothing is downloaded: weights come from a file of this machine, if at all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from torch import Tensor

from common.config import PositiveInt
from common.dataset import Metadata
from common.zoo.fitting import MisfitError, count_outputs, read_image_shape
from common.zoo.pretrained import PretrainedModel, Weights, WeightsFileError, check_taken

try:
    import timm
except ImportError:
    timm = None


@dataclass(frozen=True)
class Config:
    """Params of the section `model`."""

    name: str  # as in timm.list_models(); with a tag, as "resnet18.a1_in1k", what it says of its weights counts
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of timm.create_model, as drop_rate or img_size
    weights: Weights | None = None  # a model.safetensors of timm
    outputs: PositiveInt | None = None  # null: one a class, or a single one without classes


class TimmModel(PretrainedModel):
    """A model of timm with a classifier for the data; the first layer takes the data's number of channels."""

    def __init__(self, config: Config, metadata: Metadata) -> None:
        super().__init__()
        if timm is None:
            raise ModuleNotFoundError("timm is not installed: make extras NAMES=timm")
        if not timm.is_model(config.name):
            similar = ", ".join(get_close_matches(config.name, timm.list_models())) or "one of timm.list_models()"
            raise MisfitError(f"the name '{config.name}'", similar)
        num_channels, _, _ = read_image_shape(metadata)
        num_outputs = count_outputs(metadata, config.outputs)
        self.model = timm.create_model(
            config.name, pretrained=False, num_classes=num_outputs, in_chans=num_channels, **config.arguments
        )
        state = self.read_weights(config.weights)
        if state is not None:
            self._take(state, num_outputs, num_channels)

    def _take(self, state: dict[str, Tensor], num_outputs: int, num_channels: int) -> None:
        """Load what a file holds; its classifier only where it is for as many classes."""
        origin = {**self.model.pretrained_cfg, "state_dict": state}
        names = origin.get("classifier") or ()
        classifier = (names,) if isinstance(names, str) else tuple(names)
        hook = self.model.register_load_state_dict_post_hook(
            lambda _, keys: check_taken(keys.missing_keys, keys.unexpected_keys, classifier)
        )
        try:
            timm.models.load_pretrained(self.model, origin, num_outputs, num_channels, strict=False)
        except RuntimeError as error:  # of shapes, one a line
            raise WeightsFileError(f"`model.weights` do not fit: {' '.join(str(error).split())}") from None
        hook.remove()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits: (batch, channels, height, width) → (batch, outputs)."""
        self.check_weights()
        logits: Tensor = self.model(inputs)
        return logits
