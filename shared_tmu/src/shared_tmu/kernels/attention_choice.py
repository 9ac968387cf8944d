"""Decides how sizes are passed to attention, by a mask or in a key channel: as the user chose, or the faster
one.
"""

from __future__ import annotations

import logging
import math
import time

import torch
from torch import Tensor

from .choice import constant_when_compiled, current
from .size_channel import attend_by_channel
from .size_mask import attend_by_mask

logger = logging.getLogger(__name__)

PATHS = {"mask": attend_by_mask, "channel": attend_by_channel}
Shape = tuple[int, int, int, int]  # B, H, N, D
ROUNDS, CALLS = 15, 4  # medians of 15 rounds, each with 4 calls of every variant
_measured: dict[tuple[str, torch.dtype, Shape, bool], str] = {}


def prefers_channel(q: Tensor, scale: float | None) -> bool:
    """Whether sizes are passed in a key channel for queries `[B, H, N, D]`: as the user chose, or by
    measurement.
    """
    if scale is not None and not scale > 0:
        return False
    choice = current().attention
    if choice != "auto":
        return choice == "channel"
    if not q.is_cuda or type(q) is not Tensor:  # fake tensors cannot be timed
        return False
    batch, heads, tokens, channels = q.shape
    trained = q.requires_grad and torch.is_grad_enabled()
    return faster_path(q.device, q.dtype, batch, heads, tokens, channels, trained) == "channel"


@constant_when_compiled
def faster_path(
    device: torch.device,
    dtype: torch.dtype,
    batch: int,
    heads: int,
    tokens: int,
    channels: int,
    trained: bool,
) -> str:
    """The faster of "mask" and "channel", timed at the first call with each kind of shape.

    Two shapes are of the same kind if their batch sizes are equal after rounding up to a power of two, and
    their numbers of tokens after rounding up to a multiple of 64 (from 512 on, to a power of two). Nothing
    can be timed while a CUDA graph is captured: a kind that was not timed before then uses "mask".
    """
    key = (str(device), dtype, _shape_class(batch, heads, tokens, channels), trained)
    if key not in _measured:
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return "mask"
        seconds = measure_paths(device, dtype, key[2], trained)
        _measured[key] = min(seconds, key=lambda path: seconds[path])
        logger.debug(
            "attention %s on %s in %s%s: %s", key[2], device, dtype, ", trained" if trained else "", seconds
        )
    return _measured[key]


def _shape_class(batch: int, heads: int, tokens: int, channels: int) -> Shape:
    rounded = -(-tokens // 64) * 64 if tokens <= 512 else 2 ** math.ceil(math.log2(tokens))
    return 2 ** math.ceil(math.log2(max(1, batch))), heads, rounded, channels


def measure_paths(device: torch.device, dtype: torch.dtype, shape: Shape, trained: bool) -> dict[str, float]:
    """Median seconds per call for each variant, on random numbers, in turn, with synchronisation.

    The random numbers come from a separate generator. With `trained`, forward and backward pass.
    """
    draws = torch.Generator(device).manual_seed(0)
    with (
        torch.inference_mode(False),
        torch.set_grad_enabled(trained),
        torch.autocast(device.type, enabled=False),
    ):
        q, k, v = (
            torch.randn(shape, generator=draws, device=device, dtype=dtype).requires_grad_(trained)
            for _ in range(3)
        )
        size = torch.randint(1, 5, (shape[0], shape[2]), generator=draws, device=device).float()

        def run(path: str) -> None:
            out = PATHS[path](q, k, v, size)
            if trained:
                torch.autograd.grad(out.sum(), (q, k, v))

        seconds: dict[str, list[float]] = {path: [] for path in PATHS}
        for number in range(2 + ROUNDS):  # two rounds to warm up
            for path, times in seconds.items():
                _synchronize(device)
                start = time.perf_counter()
                for _ in range(CALLS):
                    run(path)
                _synchronize(device)
                if number >= 2:
                    times.append((time.perf_counter() - start) / CALLS)
    return {name: sorted(values)[len(values) // 2] for name, values in seconds.items()}


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
