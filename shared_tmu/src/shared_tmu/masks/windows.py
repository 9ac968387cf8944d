"""Converts masks from pixels to patch tokens, using the windows that the patch embedding reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from shared_tmu.errors import InputError


@dataclass(frozen=True)
class PatchWindows:
    """The windows of a patch embedding: token (i, j) reads the rows and columns of its window.

    Convention: row i of the grid covers pixel rows `i * stride - padding` to `i * stride - padding + size -
        1` of
    the embedding's input; columns likewise. Everything outside the input is padding.

    Attributes:
        size: height and width of a window, pixels.
        stride: distance from one window to the next, pixels.
        padding: padding of the input, pixels.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    @classmethod
    def of(cls, patch_embed: nn.Module) -> PatchWindows:
        """The windows of a patch embedding: a convolution, a module that has one as `proj`, or one that gives
        the size, stride and padding of its patches as `windows`.

        Raises:
            InputError: there is no plain convolution whose padding is given in pixels.
        """
        given: Any = getattr(patch_embed, "windows", None)
        if given is not None:
            return cls(*given)
        found: Any = getattr(patch_embed, "proj", patch_embed)
        plain = (
            isinstance(found, nn.Conv2d) and not isinstance(found.padding, str) and found.dilation == (1, 1)
        )
        if not plain:
            raise InputError(
                f"{type(patch_embed).__name__} does not show which pixels a token reads: to convert a mask "
                "from pixels to tokens, the patch embedding must be a Conv2d, or a module with one as "
                "`proj`."
            )
        return cls(found.kernel_size, found.stride, found.padding)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the token grid for an input of this size."""
        sides = zip((height, width), self.size, self.stride, self.padding, strict=True)
        rows, columns = ((side + 2 * pad - size) // step + 1 for side, size, step, pad in sides)
        return rows, columns


def cover_tokens(mask: Tensor, windows: PatchWindows, coverage: float = 0.0) -> Tensor:
    """Which patch tokens cover foreground.

    Args:
        mask: true at foreground, `[B, H, W]` bool: the pixels of the patch embedding's own input (after the
            crop, mirroring and slicing that the picture went through).
        windows: windows of the patch embedding.
        coverage: a token is foreground if more than this share of its window's pixels is foreground; with 0,
            one pixel is enough. Padding counts as background.

    Returns:
        `[B, P]` bool, row by row.

    Raises:
        InputError: the mask is not `[B, H, W]` bool, or is smaller than a window, or the share is not in
            0..1.
    """
    if mask.ndim != 3 or mask.dtype != mask.bool().dtype:
        raise InputError(f"a mask must be [B, H, W] bool, found {list(mask.shape)} {mask.dtype}.")
    if not 0.0 <= coverage < 1.0:
        raise InputError(
            f"coverage is a share of a window and must be at least 0 and below 1, found {coverage}."
        )
    (top, left), area = windows.padding, windows.size[0] * windows.size[1]
    pixels = F.pad(mask.float(), (left, left, top, top))
    if pixels.shape[1] < windows.size[0] or pixels.shape[2] < windows.size[1]:
        raise InputError(
            f"a mask of {mask.shape[1]} x {mask.shape[2]} pixels is smaller than a patch of "
            f"{windows.size[0]} x {windows.size[1]}: give the pixels that the patch embedding reads."
        )
    # integer division, rounded down
    share = F.avg_pool2d(pixels[:, None], windows.size, windows.stride) * area
    return (share.round() > coverage * area).flatten(1)
