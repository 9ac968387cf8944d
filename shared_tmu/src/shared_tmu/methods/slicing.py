"""Slicing: drop the last tokens, whatever their content. A control, and the lowest cost of removing tokens.

Any number of tokens can be removed, as long as one is left.

Time over that of the slicing floor: +5 % (-2 to +7); HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD EPYC,
from `assets/hamer_methods.jsonl`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..method_parts.pruning import prune_lowest
from ..method_parts.reductions import Planned
from ..method_parts.seen import Seen
from ..plans.plan import MergePlan


@dataclass(frozen=True, eq=False)
class Slice(Planned):
    """The first tokens, as a view without a copy."""

    takes_any_rows = True

    def reduce(self, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The first rows."""
        slots = self.plan.num_slots
        return x[:, :slots], None if size is None else size[:, :slots]


def plan_drop(seen: Seen, r: int) -> Planned:
    """Keep the first N - r tokens; the others copy the last of these when the grid is restored."""
    batch, num_tokens = seen.shape
    if seen.protected is not None:
        position = torch.arange(num_tokens - seen.num_prefix_tokens, device=seen.device)
        return prune_lowest(1 - position.expand(batch, -1) / num_tokens, r, seen)
    device, slots = seen.device, num_tokens - r

    def make_maps() -> tuple[Tensor, Tensor]:
        position = torch.arange(num_tokens, device=device).expand(batch, -1)
        return position.where(position < slots, -1), position.clamp_max(slots - 1)

    return Slice(MergePlan.from_maps(make_maps, batch, num_tokens, slots))
