"""Random pairs: the control that says how much of a method's accuracy is owed to its choice of tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from ..matching import halves, plan_pairs
from ..plan import MergePlan


def plan_random_pairs(metric: Tensor, r: int, num_prefix_tokens: int, seed: int = 0) -> MergePlan:
    """Join r random sources to a random target each; all but that choice is as in `tome`.

    The choice depends on the seed, the number of tokens and the number of prefix tokens: it is the same for
    every image, on every device and in every thread, new in each layer, and touches no random number
    generator. For other draws, `Method("random-1", functools.partial(plan_random_pairs, seed=1), merge,
    None)`.

    Not the random matching in ToMe's own ablations, which still joins every source to its most similar
    target.

    Args:
        metric: `[B, N, D]`, read only for its shape and device.
        r: tokens to remove.
        num_prefix_tokens: tokens at the front that stay as they are.
        seed: any integer from 0 to 2**31 - 1.
    """
    batch, num_tokens = metric.shape[:2]
    position = torch.arange(num_tokens, device=metric.device).unsqueeze(0)  # [1, N]
    sources, targets = halves(position, num_prefix_tokens)
    draw = _hash(_hash(sources + 4096 * num_tokens) + seed)  # [1, A], 0..2**31 - 1
    target = _hash(draw + 1) % targets.shape[1]
    return plan_pairs(draw.expand(batch, -1), target.expand(batch, -1), r, num_tokens, num_prefix_tokens)


def _hash(x: Tensor) -> Tensor:
    """Scatter non-negative integers over 0..2**31 - 1, with integer arithmetic that every device agrees on.

    Multiply and xor-shift, as in the finaliser of MurmurHash3, on 31 bits.
    """
    mask = 0x7FFFFFFF
    x = x & mask
    x = ((x ^ (x >> 16)) * 0x45D9F3B) & mask
    x = ((x ^ (x >> 15)) * 0x2C1B3C6D) & mask
    return x ^ (x >> 16)
