"""The slicing floor: the speed that this hardware would reach if merging itself cost nothing.

It is the same trunk, with the same number of tokens in every attention and every MLP; but wherever the
measured method would decide which tokens to merge, the first tokens are kept and the rest is dropped, as by
`drop`. It computes no similarities, merges nothing, and has no sizes and therefore no term in the attention
logits. Its outputs have no meaning, only its time has: `overhead` is how much longer the merged trunk takes.

What makes the comparison fair:

* tokens are dropped where they would merge, by the method's own step, as a view without a copy;
* a block that the trunk calls as a whole is called as a whole here, and a block that it runs in two halves is
  run in two halves;
* where the trunk unmerges, the floor pads with zeros to the original number of tokens, so that the norm and
  the head after it do the same work. These rows must be written in any case; zeros are the cheapest.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from shared_tmu.errors import PatchError
from shared_tmu.method_parts.seen import Watch
from shared_tmu.methods.slicing import plan_drop
from shared_tmu.patching.container import MergedBlocks


class DropInstead(Watch):
    """Lets `drop` decide in place of the method, wherever in a block its step asks for a decision."""

    def call(self, part: str, function: Any, *arguments: Any) -> Any:
        """Run a part; `matching` is called with what is seen and the number of tokens to remove."""
        return (plan_drop if part == "matching" else function)(*arguments)


class FloorBlocks(MergedBlocks):
    """The blocks of a patched ViT, run as its slicing floor: the same trunk, which drops tokens."""

    def __init__(self, merged: MergedBlocks) -> None:
        settings, trunk = merged.settings, copy.copy(merged.trunk)
        drop = DropInstead()
        trunk.settings = replace(settings, unmerge=False, restore="copy", protect="first", watch=drop)
        super().__init__(merged.unmerged(), trunk, range(len(merged)))
        self.fills_up = settings.unmerge is not False

    def _guard(self) -> None:
        """The blocks keep the guards of the patched ViT, to which they belong again afterwards."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Run all blocks on tokens `[B, N, C]`, then add zeros where the trunk would restore the other
        tokens.

        Returns:
            `[B, N, C]` like the trunk, or `[B, M, C]` if it does not unmerge.
        """
        if not self.trunk.merges:
            for block in self._modules.values():
                assert block is not None
                x = block(x, *args, **kwargs)
            return x
        short: Tensor = super().forward(x, *args, **kwargs)
        missing = x.shape[1] - short.shape[1]
        return F.pad(short, (0, 0, 0, missing)) if self.fills_up and missing else short

    def __iter__(self) -> Iterator[nn.Module]:
        return iter((self,))


def make_floor(model: nn.Module) -> None:
    """Turn a patched model into its slicing floor; this cannot be undone.

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
        raise PatchError(
            f"{type(model).__name__} is not patched, but a slicing floor needs a schedule: call `patch` "
            "first."
        )
    for owner, name, child in places:
        owner._modules[name] = FloorBlocks(child)
