"""Which tokens show the subject: masks in pixels, brought to patch tokens by the patch embedding's geometry.

A mask is true at the foreground. Given to a patch, tokens in it do not merge as long as background is left.
"""

from .limbs import Limb, draw_limbs
from .windows import PatchWindows, cover_tokens

__all__ = ["Limb", "PatchWindows", "cover_tokens", "draw_limbs"]
