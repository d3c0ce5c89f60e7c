"""How a model fits the data: what its inputs are, and how many outputs it needs."""

from common.dataset import Metadata


class MisfitError(ValueError):
    """A model does not fit the data, or its own params each other."""

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(f"found {found}, wanted {wanted}")


def count_outputs(metadata: Metadata, outputs: int | None) -> int:
    """Return the params' number of outputs; without it one for each class, or a single one for data without classes."""
    return outputs or len(metadata.classes) or 1


def read_image_shape(metadata: Metadata) -> tuple[int, int, int]:
    """Return (channels, height, width) of the inputs. Raises MisfitError where they are no images."""
    if len(metadata.input_shape) != 3:
        raise MisfitError(f"inputs of shape {metadata.input_shape}", "images (channels, height, width)")
    num_channels, height, width = metadata.input_shape
    return num_channels, height, width


def read_sequence_shape(metadata: Metadata, vocabulary: int | None) -> tuple[int, int | None]:
    """Return length and features of the inputs; features are None for tokens, which take a vocabulary.

    Raises MisfitError where they are no sequences, or the vocabulary is missing or of no use.
    """
    shape, dtype = metadata.input_shape, metadata.input_dtype
    is_float, num_axes = dtype.startswith(("float", "bfloat")), len(shape)
    if num_axes != (2 if is_float else 1):
        raise MisfitError(f"{dtype} inputs of shape {shape}", "tokens (length,) or floats (length, features)")
    if is_float and vocabulary is not None:
        raise MisfitError(f"a vocabulary of {vocabulary} with {dtype} inputs", "a vocabulary for tokens alone")
    if not is_float and vocabulary is None:
        raise MisfitError(f"{dtype} inputs without a vocabulary", "`model.vocabulary`, the number of tokens")
    return shape[0], shape[1] if is_float else None
