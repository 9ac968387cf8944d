"""Which tokens show the subject: masks in pixels, converted to patch tokens by the geometry of the patch
embedding.

A mask is true at the foreground. If a mask is given to `patch`, its tokens merge only where the method finds
too few others that can.
"""

from .attention import AttentionMask
from .choice import MaskChoice, find_masks, mask_names
from .limbs import Limb, Mask, draw_box, draw_limbs, draw_triangles
from .probe import ProbeFacts, TokenProbe, weights_before
from .scene import MaskScene, Outline, Silhouette
from .skeletons import SKELETONS, Skeleton
from .sources import ANYWHERE, AUTO, MASKS, NO_MASK, MaskPlace, MaskSource
from .windows import PatchWindows, cover_tokens

__all__ = [
    "ANYWHERE",
    "AUTO",
    "MASKS",
    "NO_MASK",
    "SKELETONS",
    "AttentionMask",
    "Limb",
    "Mask",
    "MaskChoice",
    "MaskPlace",
    "MaskScene",
    "MaskSource",
    "Outline",
    "PatchWindows",
    "ProbeFacts",
    "Silhouette",
    "Skeleton",
    "TokenProbe",
    "cover_tokens",
    "draw_box",
    "draw_limbs",
    "draw_triangles",
    "find_masks",
    "mask_names",
    "weights_before",
]
