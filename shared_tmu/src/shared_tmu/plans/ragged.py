"""Plans of methods that keep different numbers of tokens per image."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import PlanError
from .plan import MergePlan


def find_live(route: object, sizes: Tensor | None) -> Tensor | None:
    """Which slots are not padding, `[B, M]` bool; None if all are.

    Args:
        route: from the first tokens to these slots.
        sizes: original tokens per slot, `[B, M]`.
    """
    is_padded = isinstance(route, MergePlan) and route.is_padded
    return None if not is_padded or sizes is None else sizes > 0


@torch.no_grad()
def plan_groups(leaders: Tensor, copies: Tensor, order: Tensor | None = None) -> MergePlan:
    """A plan from the leader of each token, with as many slots as the image with the most leaders has.

    Images with fewer leaders are padded: their last slots carry nothing. Nothing is padded if all images have
    the same number. The function waits for these numbers, so it cannot be captured in a CUDA graph.

    Args:
        leaders: position of the token that leads each token's group, its own for leaders; -1 for tokens that
            are pruned or padding; `[B, N]` int64.
        copies: position of the leader whose group's features each token gets back, `[B, N]` int64; read for
            tokens without a leader.
        order: slots are sorted by their leaders' numbers in this tensor, `[B, N]`; None sorts by position.

    Raises:
        PlanError: the model is exported.
    """
    if torch.compiler.is_exporting():
        raise PlanError(
            "how many tokens are left follows from the numbers of each image here, and an exported graph has "
            "the same shapes for all: use a method that removes counts."
        )
    batch, num_tokens = leaders.shape
    position = torch.arange(num_tokens, device=leaders.device).expand(batch, -1)
    leads = leaders == position
    counts = leads.sum(1)
    num_slots, fewest = (int(n) for n in torch.stack([counts.max(), counts.min()]).tolist())
    key = position if order is None else order
    last = key.max() + 1
    slot = key.where(leads, last).argsort(dim=1, stable=True).argsort(dim=1)  # [B, N]; of leaders
    is_carried = leaders >= 0
    source = slot.gather(1, leaders.clamp_min(0)).where(is_carried, -1)
    if bool(is_carried.all()):
        return MergePlan(source, num_slots, validate=False, is_padded=fewest < num_slots)
    copied = slot.gather(1, leaders.where(is_carried, copies))
    return MergePlan(source, num_slots, validate=False, copy_map=copied, is_padded=fewest < num_slots)
