"""The patch grid of a ViT, rows and columns, for methods that use it."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..method_parts.seen import Grid

_PLACES = ("config.grid", "patch_embed.grid_size", "patch_embed.patch_shape", "grid")
"""Names of the attribute in our ViTs, timm's and ViTPose's."""


def find_grid(vit: nn.Module) -> Grid | None:
    """Rows and columns of the patches, from the ViT's attributes; None if it has none."""
    for place in _PLACES:
        found: Any = vit
        for name in place.split("."):
            found = getattr(found, name, None)
        if (
            isinstance(found, tuple | list)
            and len(found) == 2
            and all(isinstance(side, int) and side > 0 for side in found)
        ):
            return int(found[0]), int(found[1])
    return None
