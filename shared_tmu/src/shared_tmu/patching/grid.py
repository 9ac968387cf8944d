"""The patch grid of a ViT, rows and columns, for methods that use it."""

from __future__ import annotations

import logging
from typing import Any

from torch import nn

from ..method_parts.seen import Grid, Needs
from ..methods import Method

_log = logging.getLogger(__name__)

_PLACES = ("config.grid", "patch_embed.grid_size", "patch_embed.patch_shape", "grid")
"""Names of the attribute in our ViTs, timm's and ViTPose's."""
_READ_IF_KNOWN = ("pool",)
"""Methods that run without a grid as well, so that their rows of the table do not list it."""


def find_grid_for(method: Method, vit: nn.Module) -> Grid | None:
    """`find_grid`; says so where a method reads it, and pictures may have another one."""
    grid, reads = find_grid(vit), Needs.GRID in method.needs or method.name in _READ_IF_KNOWN
    if grid is not None and reads and getattr(vit, "dynamic_img_size", False):
        _log.warning(
            "%s takes pictures of any size, but method %r takes all of them for %d x %d patches: pass "
            "grid=(rows, columns) for pictures of another shape.",
            type(vit).__name__,
            method.name,
            *grid,
        )
    return grid


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
