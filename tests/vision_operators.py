"""A plugin for tests of what imports torchvision, whose compiled operators PyPI has for CUDA alone.

Beside a torch for the CPU, torchvision cannot be imported: two of the operators that it describes are not there. They
are declared here, without code: nothing in the tests detects objects.
"""

import torch

if torch.version.cuda is None:
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
