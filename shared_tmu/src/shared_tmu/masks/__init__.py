"""Which tokens show the subject: masks in pixels, converted to patch tokens by the patch embedding's
geometry.

A mask is true at the foreground. When a mask is given to `patch`, its tokens do not merge as long as
background is left.
"""

from .limbs import Limb, Mask, draw_box, draw_limbs, draw_triangles
from .scene import MaskScene, Outline, Silhouette
from .skeletons import SKELETONS, Skeleton
from .sources import AUTO, MASKS, NO_MASK, MaskSource, find_mask, mask_names
from .windows import PatchWindows, cover_tokens

__all__ = [
    "AUTO",
    "MASKS",
    "NO_MASK",
    "SKELETONS",
    "Limb",
    "Mask",
    "MaskScene",
    "MaskSource",
    "Outline",
    "PatchWindows",
    "Silhouette",
    "Skeleton",
    "cover_tokens",
    "draw_box",
    "draw_limbs",
    "draw_triangles",
    "find_mask",
    "mask_names",
]
