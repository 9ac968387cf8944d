"""Token Merging (ToMe), Bolya et al. 2023, arXiv:2210.09461; with unmerging, in a regressor, it is TMU.

Every second token is a source; each looks for the most similar target, and the r best pairs merge. It needs
no training.

* Reads keys, averaged over heads, and sizes. Means are weighted by size; attention is proportional, which the
  paper leaves out only for MAE models without training (`proportional=False`).
* Acts between attention and MLP. At most half of the tokens after the prefix are removed.
* The paper's counts are 8 per block of 24, 13 to 16 per block of 12, the same in each or falling.
* Slots are in the original's order for a class token, a distillation token, and none; other prefixes count as
  none. The grid comes back by copies, also where the original's own way does not (distillation tokens).
* Time over that of the slicing floor: +6 % (+5 to +7); HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD EPYC,
  from `assets/hamer_methods.jsonl`.
"""

from __future__ import annotations

from ..method_parts.reductions import Merge
from ..method_parts.seen import Seen
from ..plans.matching import plan_most_similar


def plan_tome(seen: Seen, r: int) -> Merge:
    """The r sources most similar to their best target join it; every second token is a source."""
    return Merge(plan_most_similar(seen.metric, r, seen.num_prefix_tokens, seen.mask))
