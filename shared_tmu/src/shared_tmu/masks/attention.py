"""Masks without a detector and without training: tokens that an early block's attention singles out."""

from __future__ import annotations

import torch
from torch import Tensor

from shared_tmu.blocks import halves as blocks
from shared_tmu.blocks.parts import Block
from shared_tmu.method_parts.attention_rows import mean_rows
from shared_tmu.method_parts.read_masks import ReadMask


class AttentionMask(ReadMask):
    """Protects tokens that receive more attention than the mean of all, in the block that they enter.

    Keys and queries of that block are computed twice, here and in the block.
    """

    @torch.no_grad()
    def forward(
        self, x: Tensor, block: Block, before: Tensor | None = None, live: Tensor | None = None
    ) -> Tensor:
        """See `ReadMask`."""
        received = self.received(x, block, live)
        if live is None:
            return received > received.mean(dim=1, keepdim=True)
        return received * live.sum(dim=1, keepdim=True) > received.sum(dim=1, keepdim=True)

    @staticmethod
    def received(x: Tensor, block: Block, live: Tensor | None = None) -> Tensor:
        """Attention that every patch token receives from the others, mean over heads, `[B, M]`: none of what
        is padding.
        """
        q, k, _ = blocks.project_qkv(block, block.norm1(x))
        scale = getattr(block.attn, "scale", None) or k.shape[-1] ** -0.5
        return mean_rows(q, k, scale, live, live)
