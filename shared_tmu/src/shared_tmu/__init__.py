"""Token Merge with Unmerge: a pretrained ViT runs with fewer tokens inside, and the same shapes outside.

Shapes, everywhere: B batch, T task or other prefix tokens, P patch tokens, N tokens before a merge, M after,
C channels, H heads, D channels per head (C = H * D), L layers, V vertices, J joints.
"""

from .errors import TMUError
from .method_parts.held import HeldPlans
from .methods import METHODS, Method, plan_merge
from .patching import PatchHandle, patch
from .plans.ops import merge, unmerge
from .plans.plan import MergePlan
from .schedule import Schedule
from .trunk import run_trunk

__all__ = [
    "METHODS",
    "HeldPlans",
    "MergePlan",
    "Method",
    "PatchHandle",
    "Schedule",
    "TMUError",
    "merge",
    "patch",
    "plan_merge",
    "run_trunk",
    "unmerge",
]
