"""Pictures of the effect of merging."""

from shared_tmu.viz.groups import draw_groups

__all__ = ["draw_groups"]
