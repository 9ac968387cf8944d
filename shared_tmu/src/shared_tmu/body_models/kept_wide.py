"""What our body layers add to smplx's: at least float32, and faces that match the loaded body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from shared_tmu.errors import MissingDependencyError

try:
    import smplx
    from smplx.utils import Struct
except ImportError as error:
    raise MissingDependencyError(
        "body models need the 'smplx' package: pip install 'shared_tmu[models]'."
    ) from error

__all__ = ["KeptWide", "Struct", "smplx"]


class KeptWide:
    """A mixin that precedes a layer of smplx among the base classes; it is not a module itself.

    The layer keeps at least float32 when the model around it is converted to half precision: a chain of
    half-precision bone transforms would cause errors of millimetres.
    """

    faces: Any
    faces_tensor: Tensor

    def follow_faces(self) -> None:
        """Keep smplx's array of faces equal to the buffer when another body is loaded into the layer."""
        self.register_load_state_dict_post_hook(_refresh_faces)  # type: ignore[attr-defined]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def keep_wide(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            narrowed = moved.dtype in (torch.float16, torch.bfloat16)
            return tensor.to(moved.device, torch.float32) if narrowed else moved

        return super()._apply(keep_wide, recurse)  # type: ignore[misc]


def _refresh_faces(layer: KeptWide, _: Any) -> None:
    layer.faces = layer.faces_tensor.cpu().numpy()
