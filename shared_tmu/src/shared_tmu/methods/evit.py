"""EViT: tokens that the class token does not look at go. Liang et al. 2022, arXiv:2202.07800.

Without training, and without the paper's one extra token made of all that goes: tokens that are pruned copy
the kept token whose keys are most similar when the grid is restored.
"""

from __future__ import annotations

from ..pruning import prune_lowest
from ..reductions import Prune
from ..seen import Seen


def plan_evit(seen: Seen, r: int) -> Prune:
    """Drop the r tokens to which the prefix tokens attend least, or, without such tokens, all tokens.

    With a class token that is the paper's score; with task tokens it is the attention of those that the head
    reads. Both are means over heads.
    """
    prefix = seen.num_prefix_tokens
    received = seen.attention_received(slice(0, prefix) if prefix else slice(None))
    return prune_lowest(received[:, prefix:], r, seen)
