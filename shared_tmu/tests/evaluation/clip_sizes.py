"""Sizes of the sets of clips that tests evaluate."""

CLIPS, FRAMES = 2, 5
