"""Makes `import torchvision` work where its compiled operators do not load.

They load only with the build of torch that they were made for: the usual packages of torchvision are for
CUDA, and beside torch for the CPU the import ends with "operator torchvision::nms does not exist". timm needs
torchvision, and Lightning imports it wherever it is installed. Neither uses these operators for our models.
"""

from __future__ import annotations

from importlib.machinery import PathFinder
from importlib.util import find_spec

import torch
from torch import library

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""The operators without which `import torchvision` fails."""

_declared: list[library.Library] = []  # a library that nobody holds is taken back


def declare_operators() -> None:
    """Declare the names of torchvision's operators, without code, if it is installed and they do not load."""
    spec = find_spec("torchvision")
    if spec is None or _declared or hasattr(torch.ops.torchvision, "nms"):
        return
    compiled = PathFinder.find_spec("_C", list(spec.submodule_search_locations or ()))
    if compiled is None or compiled.origin is None or not _loads(compiled.origin):
        fragment = library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in _OPERATORS:
            fragment.define(operator)  # type: ignore[no-untyped-call]
        _declared.append(fragment)


def _loads(path: str) -> bool:
    try:
        torch.ops.load_library(path)  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return True
