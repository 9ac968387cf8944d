"""The slicing floor: what this hardware could give at best if merging itself cost nothing.

The same blocks as the merged trunk, with the same number of tokens in every attention and every MLP; but
where the trunk matches and merges, the floor keeps the first tokens and drops the rest. It has no
similarities, no merging, no sizes and therefore no term in the attention logits. Its numbers mean nothing;
its time does: `overhead` is how much longer the merged trunk takes.

What makes the comparison fair:

* tokens are dropped where they merge, between attention and MLP, as a view without a copy of its own;
* a block that the trunk calls as a whole is called as a whole here, one that it runs in halves in halves;
* where the trunk unmerges, the floor fills up with zeros to the first number of tokens, so that the norm and
  the head after it work as much. Something has to write those rows; zeros are the least it can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from shared_tmu.blocks import Block, attention_half, mlp_half
from shared_tmu.container import MergedBlocks
from shared_tmu.errors import PatchError
from shared_tmu.schedule import limit_removal
from shared_tmu.trunk import TrunkSettings


def run_floor(blocks: Sequence[Block], x: Tensor, settings: TrunkSettings) -> Tensor:
    """Run all blocks on tokens `[B, N, C]`, dropping tokens where `trunk.run_blocks` would merge them.

    Returns:
        `[B, N, C]` as the trunk does, or `[B, M, C]` where `settings.unmerge` is false.
    """
    tokens, is_merged = x.shape[1], False
    for block, wanted in zip(blocks, settings.schedule.per_layer(len(blocks)), strict=True):
        r = limit_removal(wanted, x.shape[1], settings.num_prefix_tokens)
        if r == 0 and not (is_merged and settings.proportional):
            x = block(x)
            continue
        x, _ = attention_half(block, x)
        if r > 0:
            x, is_merged = x[:, : x.shape[1] - r], True
        x = mlp_half(block, x)
    return F.pad(x, (0, 0, 0, tokens - x.shape[1])) if settings.unmerge and is_merged else x


class FloorBlocks(MergedBlocks):
    """The blocks of a patched ViT, run as its slicing floor."""

    def __init__(self, merged: MergedBlocks) -> None:
        super().__init__(merged.unmerged(), merged.trunk, range(len(merged)))

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Run all blocks on tokens `[B, N, C]`; see `run_floor`."""
        return run_floor(list(self._modules.values()), x, self.settings)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter((self,))


def make_floor(model: nn.Module) -> None:
    """Turn a patched model into its slicing floor, for good.

    Raises:
        PatchError: the model is not patched.
    """
    places = [
        (owner, name, child)
        for owner in model.modules()
        for name, child in owner._modules.items()
        if isinstance(child, MergedBlocks)
    ]
    if not places:
        raise PatchError(f"{type(model).__name__} is not patched: its slicing floor needs a schedule.")
    for owner, name, child in places:
        owner._modules[name] = FloorBlocks(child)
