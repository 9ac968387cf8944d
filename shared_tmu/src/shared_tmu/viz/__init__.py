"""Pictures of the effect of merging."""

from shared_tmu.viz.depth import draw_depth, save_animation
from shared_tmu.viz.groups import draw_groups

__all__ = ["draw_depth", "draw_groups", "save_animation"]
