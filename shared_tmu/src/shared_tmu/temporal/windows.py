"""Clips of any length in windows of one length: overlapping ones are faded into each other.

Ours: the paper does not say how windows overlap. A clip shorter than a window is stretched to it, and its
result shrunk back, as in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

OVERLAP = 3
"""Neighbouring windows share a third of their frames."""
_REACH = 4
"""Deviations of a Gaussian on either side that count."""


def starts_of(length: int, window: int) -> list[int]:
    """First frames of the windows of a clip that is at least as long as one; the last ends with the clip."""
    step = max(1, window - window // OVERLAP)
    starts = list(range(0, length - window, step))
    return [*starts, length - window]


def in_windows(decode: Callable[[Tensor], Tensor], frames: Tensor, window: int) -> Tensor:
    """Apply `decode`, `[B, window, C]` to `[B, window, F]`, to a clip of any length.

    Args:
        decode: called once, with all windows.
        frames: `[T, C]`.
        window: their length.

    Returns:
        `[T, F]`; linear in what `decode` gives, so directions must be made unit vectors afterwards.
    """
    length = len(frames)
    if length < window:
        return resample(decode(resample(frames, window)[None])[0], length)
    starts = starts_of(length, window)
    parts = decode(torch.stack([frames[start : start + window] for start in starts]))
    weight = fade(window).to(parts)[:, None]
    total = parts.new_zeros(length, parts.shape[-1])
    shares = parts.new_zeros(length, 1)
    for start, part in zip(starts, parts, strict=True):
        total[start : start + window] += weight * part
        shares[start : start + window] += weight
    return total / shares


def fade(window: int) -> Tensor:
    """Weights of a window's frames, `[window]`: rising over the overlap, then falling."""
    ramp = torch.arange(1.0, window + 1.0)
    return torch.minimum(ramp, ramp.flip(0)).clamp(max=max(1, window // OVERLAP))


def resample(frames: Tensor, length: int) -> Tensor:
    """Frames `[T, C]` at `length` times from the first to the last, linearly, `[length, C]`."""
    if len(frames) == length:
        return frames
    if len(frames) == 1:
        return frames.expand(length, -1)
    moved = functional.interpolate(frames.T[None], size=length, mode="linear", align_corners=True)
    return moved[0].T


def blur(frames: Tensor, deviation: float) -> Tensor:
    """Frames `[..., T, C]` averaged with their neighbours by a Gaussian in time; the first and the last frame
    go on beyond the ends.

    Args:
        frames: values of any kind.
        deviation: of the Gaussian, in frames; 0 changes nothing.
    """
    if deviation == 0:
        return frames
    reach = math.ceil(_REACH * deviation)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).to(frames) / deviation).square())
    rows = frames.transpose(-1, -2).flatten(0, -2)[:, None]  # [N, 1, T]
    padded = functional.pad(rows, (reach, reach), mode="replicate")
    smooth = functional.conv1d(padded, (weights / weights.sum())[None, None])
    return smooth.reshape(*frames.shape[:-2], frames.shape[-1], -1).transpose(-1, -2)
