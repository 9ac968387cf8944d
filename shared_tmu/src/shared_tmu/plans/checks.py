"""Checks of a plan's maps, value by value."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import PlanError


def check_maps(source_map: Tensor, copy_map: Tensor | None, num_slots: int, is_padded: bool) -> None:
    """Check every value of a plan's maps; see `MergePlan`.

    Args:
        source_map: `[B, N]`, not empty.
        copy_map: `[B, N]`, or None where nothing is pruned.
        num_slots: M.
        is_padded: whether images may leave their last slots empty.

    Raises:
        PlanError: a slot outside 0..M-1, one that carries no token (unless it is padding), a pruned token
            without a slot to copy, or a carried token that copies a slot other than its own.
    """
    low, high = (int(v) for v in source_map.aminmax())
    if low < (0 if copy_map is None else -1) or high >= num_slots:
        hint = " To prune a token, give a copy_map as well." if low == -1 and copy_map is None else ""
        raise PlanError(
            f"the source map names slots {low}..{high}, but this plan has slots 0..{num_slots - 1}.{hint}"
        )
    sizes = count_members(source_map, num_slots)
    _check_slots(sizes, is_padded)
    if copy_map is not None:
        _check_copies(source_map, copy_map, sizes)


def _check_slots(sizes: Tensor, is_padded: bool) -> None:
    is_empty = sizes == 0
    if is_padded:  # padding comes last: an empty slot before a full one is a gap
        is_last = is_empty.flip(1).to(torch.uint8).cummin(1).values.flip(1) == 1
        is_empty = is_empty & ~is_last
    empty = is_empty.nonzero()
    if len(empty):
        image, slot = empty[0].tolist()
        raise PlanError(
            f"slot {slot} of image {image} carries no token ({len(empty)} such slots): "
            f"number the slots 0..M-1 without gaps."
        )


def _check_copies(source_map: Tensor, copy_map: Tensor, sizes: Tensor) -> None:
    num_slots = sizes.shape[1]
    low, high = (int(v) for v in copy_map.aminmax())
    if low < 0 or high >= num_slots:
        raise PlanError(
            f"the copy map names slots {low}..{high}, but this plan has slots 0..{num_slots - 1}: every "
            "token, pruned or not, must copy one of these."
        )
    wrong = ((source_map >= 0) & (copy_map != source_map)).nonzero()
    if len(wrong):
        image, token = wrong[0].tolist()
        raise PlanError(
            f"token {token} of image {image} is in one slot but copies another ({len(wrong)} such tokens): "
            "a token that is not pruned must copy its own slot."
        )
    if (sizes.gather(1, copy_map) == 0).any():
        raise PlanError("the copy map names a slot that is padding: name a slot that carries a token.")


def count_members(source_map: Tensor, num_slots: int) -> Tensor:
    """Number of tokens in each slot, `[B, M]` int64; tokens with slot -1 are not counted."""
    zeros = torch.zeros(source_map.shape[0], num_slots, dtype=torch.int64, device=source_map.device)
    return zeros.scatter_add_(1, source_map.clamp_min(0), (source_map >= 0).to(torch.int64))
