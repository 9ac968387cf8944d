"""Pictures of the effect of merging, and of how similar layers are."""

from shared_tmu.viz.depth import draw_depth, save_animation
from shared_tmu.viz.groups import draw_groups
from shared_tmu.viz.similarity import draw_similarity

__all__ = ["draw_depth", "draw_groups", "draw_similarity", "save_animation"]
