"""Fourier Transformer: a low-pass over the sequence. He et al. 2023, arXiv:2305.15099.

Patch tokens are transformed by a discrete cosine transform along the sequence, the highest frequencies are
dropped, and the shorter spectrum is transformed back; so slots are mixtures of all tokens. The transpose,
which pads the spectrum with zeros, restores the grid, block by block in reverse. It acts at the end of a
block, as in PiToMe's version for ViTs, but without that version's rounding to float16; in the original's
language models it acts before attention. The values of a constant sequence grow by sqrt(n / n'), as in the
original.

It reads nothing, keeps no sizes, and needs no training; the paper trains with it. Shares as in `0.9` keep
ceil(0.9 n) of the n tokens after the prefix. Any number of tokens can be removed, as long as one is left.

Time over that of the slicing floor: +6 % (+1 to +12); HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD EPYC,
from `assets/hamer_methods.jsonl`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from ..method_parts.reductions import Linear
from ..method_parts.seen import Seen


@torch.no_grad()
def plan_dct(seen: Seen, r: int) -> Linear:
    """Drop the r highest frequencies of the tokens after the prefix; protected tokens are left out of it."""
    (batch, num_tokens), prefix = seen.shape, seen.num_prefix_tokens
    if seen.protected is not None:
        return Linear(low_pass_around(_release(seen.protected, r, prefix), r), batch)
    is_plain = type(seen.tokens) is Tensor and seen.device.type == "cpu" and not torch.compiler.is_compiling()
    make = _kept_low_pass if is_plain else low_pass
    return Linear(make(num_tokens, r, prefix, seen.device), batch)


def low_pass(num_tokens: int, r: int, num_prefix_tokens: int, device: torch.device) -> Tensor:
    """The whole operation as one matrix `[N - r, N]` in float64; prefix tokens go through unchanged."""
    count = num_tokens - num_prefix_tokens
    core = cosines(count - r, device).T @ cosines(count, device)[: count - r]
    first = torch.eye(num_prefix_tokens, dtype=core.dtype, device=device)
    return torch.block_diag(first, core)  # type: ignore[no-any-return, no-untyped-call]


@lru_cache(maxsize=128)
def _kept_low_pass(num_tokens: int, r: int, num_prefix_tokens: int, device: torch.device) -> Tensor:
    """The same, cached; see `matching`."""
    with torch.inference_mode(False):
        return low_pass(num_tokens, r, num_prefix_tokens, device)


def cosines(count: int, device: torch.device) -> Tensor:
    """The orthonormal transform (DCT-II), `[n, n]` float64: row k is frequency k."""
    n, length = torch.arange(count, dtype=torch.float64, device=device), max(count, 1)
    rows = torch.cos(math.pi / (2 * length) * (2 * n + 1) * n.unsqueeze(1)) * math.sqrt(2 / length)
    return torch.where(n.unsqueeze(1) == 0, rows * math.sqrt(0.5), rows)


def _release(protected: Tensor, r: int, prefix: int) -> Tensor:
    """The tokens `[B, N]` that stay as they are: the prefix, and protected ones as long as r + 1 others are
    left.

    Background is used first; if it is not enough, protected tokens are used too, starting from the end.
    """
    is_prefix = torch.arange(protected.shape[1], device=protected.device) < prefix
    protected = protected & ~is_prefix
    from_end = protected.flip(1).cumsum(1).flip(1)  # 1 for the last
    free = protected.shape[1] - prefix - protected.sum(1, keepdim=True)
    return (protected & (from_end > r + 1 - free)) | is_prefix


def low_pass_around(spared: Tensor, r: int) -> Tensor:
    """`low_pass` with other tokens to leave alone in every image: `[B, N]` bool to `[B, N - r, N]`.

    The slots are first the tokens that stay, in their order, then the mixtures of the others.
    """
    num_tokens, device = spared.shape[1], spared.device
    count = (~spared).sum(1).double()[:, None, None]  # n of each image
    kept = count - r
    frequency = torch.arange(num_tokens, dtype=torch.float64, device=device)[:, None]
    # position of a token among those that do not stay
    number = ((~spared).cumsum(1) - 1).double().unsqueeze(1)
    slot = torch.arange(num_tokens - r, dtype=torch.float64, device=device) - (num_tokens - count)

    def transform(position: Tensor, length: Tensor) -> Tensor:  # [B, K, positions]
        rows = torch.cos(math.pi / (2 * length) * (2 * position + 1) * frequency) * (2 / length).sqrt()
        is_kept = (frequency < kept) & (position >= 0)
        return torch.where(frequency == 0, rows * math.sqrt(0.5), rows) * is_kept

    core = transform(slot, kept).mT @ (transform(number, count) * ~spared.unsqueeze(1))
    own = (spared.cumsum(1) - 1).unsqueeze(1) == torch.arange(num_tokens - r, device=device)[:, None]
    return core + (own & spared.unsqueeze(1))
