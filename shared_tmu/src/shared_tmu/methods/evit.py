"""EViT: prune tokens that get little attention from the class token. Liang et al. 2022, arXiv:2202.07800.

Tokens that get little attention from the class token are dropped, which needs no training.

* Reads keys, and rows of the attention map: the class token's; the task tokens', where these are the prefix;
  all, where there is no prefix.
* Acts between attention and MLP. Any number of tokens can be removed, as long as one is left.
* The paper keeps 0.7 of the tokens in blocks 3, 6 and 9 of 0 to 11, and fuses those that it drops into one
  extra token; without training this token is left out.
* When the grid comes back, a pruned token copies the kept token with the most similar keys.
* Time over that of the slicing floor: +24 % (+14 to +29); HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD
  EPYC, from `assets/hamer_methods.jsonl`.
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
