"""FLOPs of a trunk, counted, not measured; use it through `Schedule.layer_costs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class TrunkShape:
    """The sizes on which the cost of a ViT's blocks depends; ViT-H at 256 x 192 is `TrunkShape(32, 1280, 16,
    192)`.

    Attributes:
        depth: L, blocks.
        width: C, channels.
        num_heads: H.
        num_tokens: N, prefix tokens included.
        num_prefix_tokens: T tokens that never merge.
        mlp_ratio: hidden width of the MLP over C.
    """

    depth: int
    width: int
    num_heads: int
    num_tokens: int
    num_prefix_tokens: int = 0
    mlp_ratio: float = 4.0


@dataclass(frozen=True)
class LayerCost:
    """One block, one image; a multiply-accumulate counts as two FLOPs. Only matrix products are counted.

    Attributes:
        tokens_in: N, tokens its attention sees.
        tokens_out: M, tokens its MLP sees.
        attention: FLOPs of qkv, logits, weighted values and projection.
        mlp: FLOPs of the MLP's two layers.
        matching: FLOPs of the similarities between sources and targets, 0 where nothing merges.
    """

    tokens_in: int
    tokens_out: int
    attention: int
    mlp: int
    matching: int

    @property
    def flops(self) -> int:
        """All of them."""
        return self.attention + self.mlp + self.matching


def count_costs(token_counts: Sequence[int], shape: TrunkShape) -> list[LayerCost]:
    """Tokens and FLOPs of every block, from the tokens before the first block and after each."""
    width, hidden = shape.width, round(shape.width * shape.mlp_ratio)
    costs = []
    for before, after in pairwise(token_counts):
        targets = (before - shape.num_prefix_tokens) // 2
        sources = before - shape.num_prefix_tokens - targets
        costs.append(
            LayerCost(
                tokens_in=before,
                tokens_out=after,
                attention=2 * before * 4 * width**2 + 2 * 2 * before**2 * width,
                mlp=2 * 2 * after * width * hidden,
                matching=2 * sources * targets * (width // shape.num_heads) if after < before else 0,
            )
        )
    return costs
