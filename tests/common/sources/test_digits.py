"""The digits that ship inside scikit-learn."""

import torch

from common.sources.digits import Digits


def test_digits_are_images_of_ink_between_0_and_1() -> None:
    (part,) = Digits().parts()
    samples = Digits().load(part)
    assert (samples.inputs.shape, samples.inputs.dtype) == ((1797, 1, 8, 8), torch.float32)
    assert (samples.inputs.min().item(), samples.inputs.max().item()) == (0.0, 1.0)
    assert isinstance(samples.targets, torch.Tensor)
    assert set(samples.targets.tolist()) == set(range(len(samples.classes)))
    assert samples.ids.tolist() == list(range(1797))  # type: ignore[union-attr]
