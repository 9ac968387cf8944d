"""A trunk whose tokens are silenced instead of removed, so that gradients reach what chooses them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from shared_tmu.blocks.parts import Block
from shared_tmu.flops import TrunkShape
from shared_tmu.method_parts.relaxed import Learned, Relaxed
from shared_tmu.methods import count_tokens
from shared_tmu.schedule import Schedule


class SoftTrunk(nn.Module):
    """All blocks of a ViT in one module, `[B, N, C]` to `[B, N, C]`, by the `relax` of a method that learns.

    Args:
        blocks: the blocks.
        learned: the method's module; it is not registered here.
        asked: what every block is asked for, see `asked_of`.
        num_prefix_tokens: T.
    """

    def __init__(
        self, blocks: Sequence[Block], learned: Learned, asked: Sequence[Any], num_prefix_tokens: int
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.asked, self.num_prefix_tokens = tuple(asked), num_prefix_tokens
        self.held = (learned,)  # in a tuple, because its parameters are not the model's
        self.shares: tuple[tuple[Tensor, Tensor], ...] = ()
        """Of the last forward, see `Relaxed`."""

    def forward(self, x: Tensor) -> Tensor:
        """Run all blocks, and give every token its features back."""
        (learned,), relaxed = self.held, Relaxed.start(x, self.num_prefix_tokens)
        for layer, (block, r) in enumerate(zip(self.blocks, self.asked, strict=True)):
            learned.relax(block, relaxed, layer, r)
        self.shares = relaxed.shares
        return relaxed.restore()


def asked_of(method: str, schedule: Schedule, shape: TrunkShape) -> list[Any]:
    """Tokens that every block removes, or, for schedules with thresholds, these."""
    if schedule.reads_thresholds:
        return schedule.per_layer(shape.depth)
    counts = count_tokens(method, schedule, shape.depth, shape.num_tokens, shape.num_prefix_tokens)
    return [before - after for before, after in pairwise(counts)]
