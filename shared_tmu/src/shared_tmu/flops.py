"""FLOPs of a trunk, counted from the tokens that each part of a block sees; `shared_tmu.methods.count_costs`
counts them for a method and a schedule."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrunkShape:
    """The sizes on which the cost of a ViT's blocks depends.

    ViT-H at 256 x 192 is `TrunkShape(32, 1280, 192)`.

    Attributes:
        depth: L, blocks.
        width: C, channels.
        num_tokens: N, prefix tokens included.
        num_prefix_tokens: T tokens that never merge.
        mlp_ratio: hidden width of the MLP over C.
    """

    depth: int
    width: int
    num_tokens: int
    num_prefix_tokens: int = 0
    mlp_ratio: float = 4.0


@dataclass(frozen=True)
class Work:
    """Numbers of tokens, or of pairs of query and key, in the matrix products of one block, for one image.

    Attributes:
        qkv: tokens that are projected to queries, keys and values.
        logits: pairs that are compared.
        values: pairs in the sums of values weighted by attention.
        out: tokens in the projection after attention.
        mlp: tokens in the MLP.
    """

    qkv: int
    logits: int
    values: int
    out: int
    mlp: int

    @classmethod
    def of(cls, attention: int, mlp: int) -> Work:
        """Attention among some tokens, and the MLP on the same or another number of tokens."""
        return cls(attention, attention**2, attention**2, attention, mlp)


@dataclass(frozen=True)
class LayerCost:
    """One block, one image; a multiply-accumulate counts as two FLOPs. Only the block's own matrix products
    are counted: the computations of a method for deciding and merging are not.

    Attributes:
        tokens_in: tokens that enter the block.
        tokens_out: tokens that leave it.
        work: numbers of tokens and pairs in its parts.
        attention: FLOPs of qkv, logits, weighted values and projection.
        mlp: FLOPs of the MLP's two layers.
    """

    tokens_in: int
    tokens_out: int
    work: Work
    attention: int
    mlp: int

    @property
    def flops(self) -> int:
        """FLOPs of the whole block."""
        return self.attention + self.mlp


def cost_of(work: Work, tokens_in: int, tokens_out: int, shape: TrunkShape) -> LayerCost:
    """FLOPs of one block of a trunk."""
    width, hidden = shape.width, round(shape.width * shape.mlp_ratio)
    return LayerCost(
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        work=work,
        attention=2 * (3 * work.qkv + work.out) * width**2 + 2 * (work.logits + work.values) * width,
        mlp=2 * 2 * work.mlp * width * hidden,
    )
