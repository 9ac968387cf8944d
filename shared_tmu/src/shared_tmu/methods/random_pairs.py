"""Random pairs: the control that shows how much of a method's accuracy comes from its choice of tokens.

At most half of the tokens after the prefix are removed.

Time over that of the slicing floor: +6 % (-6 to +19); HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD EPYC,
from `assets/hamer_methods.jsonl`.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from ..limits import Limit
from ..method_parts.reductions import Merge
from ..method_parts.seen import Seen
from ..plans.matching import halves, plan_pairs

Seed = Annotated[int, Limit(0, 2**31 - 1)]


def plan_random_pairs(seen: Seen, r: int, seed: Seed = 0) -> Merge:
    """Join each of r random sources to a random target; apart from this choice it works like `tome`.

    The choice depends on the seed, the number of tokens and the number of prefix tokens: it is the same for
    every image, on every device and in every thread, differs between layers, and uses no random number
    generator. For other draws, `random:seed=1`. A protected token
    becomes a target only if there is no other, and a source only if there are no others.

    This differs from the random matching in ToMe's own ablations, which still joins every source to its most
    similar target.

    Args:
        seen: only its shape, its device and the protected tokens are read.
        r: tokens to remove.
        seed: any integer from 0 to 2**31 - 1.
    """
    (batch, num_tokens), prefix = seen.shape, seen.num_prefix_tokens
    position = torch.arange(num_tokens, device=seen.device).unsqueeze(0)  # [1, N]
    sources, targets = halves(position, prefix)
    draw = hash_integers(hash_integers(sources + 4096 * num_tokens) + seed)  # [1, A], 0..2**31 - 1
    target = (hash_integers(draw + 1) % max(targets.shape[1], 1)).expand(batch, -1)
    order = draw.sort(dim=1, descending=True, stable=True).indices
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1], device=order.device)[None])
    score = -rank.float().expand(batch, -1)  # exact, unlike the draw itself in float32
    if seen.protected is not None:
        of_sources, of_targets = halves(seen.protected, prefix)
        target = _next_free(target, of_targets)
        is_spared = of_sources | of_targets.gather(1, target)
        score = score - rank.shape[1] * is_spared
    return Merge(plan_pairs(score, target, r, num_tokens, prefix))


def _next_free(target: Tensor, is_taken: Tensor) -> Tensor:
    """The first unprotected target, searching from the drawn one `[B, A]` onwards and around; the drawn one
    if none is."""
    count = is_taken.shape[1]
    number = torch.arange(2 * count, device=is_taken.device).expand(len(is_taken), -1)
    free = number.where(~is_taken.repeat(1, 2), 4 * count)
    following = free.flip(1).cummin(1).values.flip(1)[:, :count].gather(1, target)
    return (following % max(count, 1)).where(following < 4 * count, target)


def hash_integers(x: Tensor) -> Tensor:
    """Hash non-negative integers to 0..2**31 - 1, with integer arithmetic that is the same on every device.

    Multiply and xor-shift, as in the finaliser of MurmurHash3, on 31 bits.
    """
    mask = 0x7FFFFFFF
    x = x & mask
    x = ((x ^ (x >> 16)) * 0x45D9F3B) & mask
    x = ((x ^ (x >> 15)) * 0x2C1B3C6D) & mask
    return x ^ (x >> 16)
