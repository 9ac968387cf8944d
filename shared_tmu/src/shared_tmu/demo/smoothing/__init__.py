"""Steadier tracks: the motion of hands and people, smoothed over the frames of a clip."""
