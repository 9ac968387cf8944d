"""Pictures of what merging does."""

from shared_tmu.viz.groups import draw_groups

__all__ = ["draw_groups"]
