"""Proportional attention without a mask, so that fused kernels that take none (flash attention) do the work.

softmax(s * q k + log(size)) is softmax(s * q' k') if q' has further channels with a constant c, and k' has
log(size) / (s * c) there. Four details keep it accurate and fast:

* c is a power of two near 1 / s: exact in every dtype, and the key channel keeps the magnitude of log(size);
* the key channel is split in two, what the dtype holds of it and what is left: log(4096) = 8.3 is off by up
  to 0.016 in one bfloat16 (as it is in a bfloat16 mask), by less than 0.0001 in two;
* a key of size 0, which is padding, gets -10000 for its logarithm: out of reach in every dtype, and finite;
* heads are widened to a multiple of 8, which flash kernels take; values get the same width, and the result
  loses it again.
"""

from __future__ import annotations

import logging
import math
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from . import ops
from .choice import constant_when_compiled, current, uses_triton, using

logger = logging.getLogger(__name__)

Shape = tuple[int, int, int, int]  # B, H, N, D
LOG_OF_NONE = -1e4  # a number that float16 holds, and below which no other logit comes
ROUNDS, CALLS = 15, 4  # medians of 15 rounds, each of 4 calls of every contender
_measured: dict[tuple[str, torch.dtype, Shape, bool], str] = {}


def attend_by_channel(
    q: Tensor, k: Tensor, v: Tensor, size: Tensor, scale: float | None = None, dropout: float = 0.0
) -> Tensor:
    """`shared_tmu.attention.proportional_attention` for sizes `[B, N]`, without a mask.

    Equal to the softmax written out up to the rounding of its dtype; gradients reach `size` too.

    Args:
        q, k, v: `[B, H, N, D]`.
        size: original tokens per key, `[B, N]`.
        scale: positive factor on the logits before `log(size)`; None is D ** -0.5.
        dropout: probability that an attention weight is dropped.

    Returns:
        `[B, H, N, D]`.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    wide = widen(q, k, v, size, scale)
    out = F.scaled_dot_product_attention(*wide, dropout_p=dropout, scale=scale)
    return out[..., : q.shape[-1]]


def widen(q: Tensor, k: Tensor, v: Tensor, size: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, each `[B, H, N, W]` with W >= D + 2, that need no mask."""
    width = (q.shape[-1] + 2 + 7) // 8 * 8
    constant = 2.0 ** min(max(-round(math.log2(scale)), -14), 14)  # float16 has 2**-14 to 2**15
    factor = 1.0 / (scale * constant)
    needs_grad = torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v, size))
    if not needs_grad and uses_triton(q):
        wide_q, wide_k, wide_v = ops.widen(q, k, v, size, width, constant, factor).unbind(0)
        return wide_q, wide_k, wide_v
    spare = width - q.shape[-1]
    exact = _log(size.to(torch.promote_types(q.dtype, torch.float32))) * factor  # [B, N]
    high = exact.to(q.dtype)
    low = (exact - high.to(exact.dtype)).to(q.dtype)
    of_query = F.pad(q.new_full((2,), constant), (0, spare - 2)).expand(*q.shape[:3], spare)
    of_key = F.pad(torch.stack([high, low], dim=2), (0, spare - 2))  # [B, N, W - D]
    wide_q = torch.cat([q, of_query], dim=3)
    wide_k = torch.cat([k, of_key.unsqueeze(1).expand(*k.shape[:3], spare)], dim=3)
    return wide_q, wide_k, F.pad(v, (0, spare))


def _log(size: Tensor) -> Tensor:
    """The logarithm of sizes, with a finite number for none."""
    return size.clamp_min(torch.finfo(size.dtype).tiny).log().where(size > 0, LOG_OF_NONE)


def prefers_channel(q: Tensor, scale: float | None) -> bool:
    """Whether `attend_by_channel` shall run for queries `[B, H, N, D]`: as chosen, or by measurement."""
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
    """The faster of "mask" and "channel", timed at the first question about a kind of shape.

    Shapes are of one kind if the batch is the same after rounding up to a power of two, and the number of
    tokens to a multiple of 64 (from 512 on, to a power of two). While a CUDA graph is captured nothing can be
    timed: what was not asked before is "mask" then.
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
    """Median seconds per call of each path, on random numbers, in turn, with synchronisation.

    Draws from a generator of its own. With `trained`, forward and backward.
    """
    from ..attention import proportional_attention

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
            with using(attention=path):
                out = proportional_attention(q, k, v, size)
            if trained:
                torch.autograd.grad(out.sum(), (q, k, v))

        seconds: dict[str, list[float]] = {"mask": [], "channel": []}
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
