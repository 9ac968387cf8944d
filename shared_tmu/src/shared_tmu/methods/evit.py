"""EViT: prune tokens that get little attention from the class token. Liang et al. 2022, arXiv:2202.07800.

Without training, and without the paper's extra token that fuses the removed ones: when the grid is restored,
a pruned token copies the kept token with the most similar keys.
"""

from __future__ import annotations

from ..method_parts.pruning import prune_lowest
from ..method_parts.reductions import Prune
from ..method_parts.seen import Seen


def plan_evit(seen: Seen, r: int) -> Prune:
    """Drop the r tokens to which the prefix tokens attend least, or, without such tokens, all tokens.

    With a class token this is the paper's score; with task tokens it is the attention of the tokens that the
    head reads. Both are means over heads.
    """
    prefix = seen.num_prefix_tokens
    received = seen.attention_received(slice(0, prefix) if prefix else slice(None))
    return prune_lowest(received[:, prefix:], r, seen)
