"""Training of methods whose choices have no gradients: tokens are silenced instead of removed.

All N tokens stay. A token's weight in attention falls towards 0 where the method would remove it, and a
matrix records how every original token would get its features back, so gradients reach what decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..blocks import halves
from ..blocks.parts import Block
from ..flops import TrunkShape, Work, cost_of
from ..schedule import Schedule


@dataclass
class Relaxed:
    """Tokens between two blocks of a relaxed pass; `relax` replaces its fields.

    Attributes:
        tokens: `[B, N, C]`.
        sizes: original tokens per token, `[B, N]`.
        mask: 1 for tokens that are left, 0 for removed ones, `[B, N]`, with gradients.
        route: `[B, N, N]`: original token i gets back `route[i] @ tokens`; every row adds up to 1.
        num_prefix_tokens: T tokens at the front that stay first.
        left: tokens that are left, for methods that count them, prefix included.
        shares: for every block so far the mean share of tokens that its attention and its MLP would process.
    """

    tokens: Tensor
    sizes: Tensor
    mask: Tensor
    route: Tensor
    num_prefix_tokens: int
    left: int
    shares: tuple[tuple[Tensor, Tensor], ...] = ()

    @classmethod
    def start(cls, x: Tensor, num_prefix_tokens: int) -> Relaxed:
        """The tokens `[B, N, C]` that enter the first block."""
        ones, unit = x.new_ones(x.shape[:2]), torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        return cls(x, ones, ones, unit.expand(x.shape[0], -1, -1), num_prefix_tokens, x.shape[1])

    def reorder(self, order: Tensor) -> None:
        """Sort tokens by positions `[B, N]`."""
        self.tokens = self.tokens.gather(1, order.unsqueeze(2).expand_as(self.tokens))
        self.sizes, self.mask = self.sizes.gather(1, order), self.mask.gather(1, order)
        self.route = self.route.gather(2, order.unsqueeze(1).expand_as(self.route))

    def hand_over(self, keeps: Tensor, target: Tensor) -> None:
        """From here on a token gets back its own features to the share `keeps` `[B, N]`, and for the rest
        those of the token `target` `[B, N]`.
        """
        own = torch.diag_embed(keeps)
        step = own.scatter_add(2, target.unsqueeze(2), (1 - keeps).unsqueeze(2))
        self.route = self.route @ step

    def restore(self) -> Tensor:
        """The full grid, `[B, N, C]`."""
        return self.route @ self.tokens


class Learned(nn.Module):
    """The module of a method that learns, with what `shared_tmu.training.learned` needs to train it.

    A subclass whose plan has gradients needs nothing more than its parameters: the patched model is trained.
    Others set `relaxes` and write `relax`.
    """

    relaxes = False
    lr = 1e-3
    """Peak learning rate, of Adam."""
    lr_factors: Mapping[str, float] = {}
    """Factors on it, of parameters by name."""
    flops_weight = 0.0
    """Factor of the squared distance of the FLOPs, as a share of those without merging, from their target; 0
    for methods whose counts the schedule gives."""
    scaffold: frozenset[str] = frozenset()
    """Parameters by name that only training needs: files do not have them."""

    def begin(self, schedule: Schedule, num_tokens: int, num_prefix_tokens: int) -> None:
        """Prepare training for a schedule, from which a method that learns its counts starts."""

    def relax(self, block: Block, relaxed: Relaxed, layer: int, r: Any) -> None:
        """Run a block on relaxed tokens.

        Args:
            block: the block.
            relaxed: its tokens, replaced by those after the block.
            layer: its number.
            r: tokens to remove in it, or thresholds, as the schedule says.
        """
        raise NotImplementedError

    def learned_schedule(self, schedule: Schedule, shape: TrunkShape) -> Schedule | None:
        """What was learned, as a schedule; None for methods that learn something else.

        Args:
            schedule: the one of `begin`; learned counts have at most its FLOPs.
            shape: sizes of the trunk.
        """
        return None


class LearnedLayers(Learned):
    """A learned module with a part of its own for every block.

    Args:
        layers: the parts, in order.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


def flops_share(shares: Sequence[tuple[Tensor, Tensor]], shape: TrunkShape) -> Tensor:
    """FLOPs of the blocks as a share of those without merging, with gradients.

    Args:
        shares: for every block the mean share of tokens that attention and MLP process.
        shape: sizes of the trunk.

    Source: DiffRate, Chen et al. 2023, arXiv:2305.17997, which counts 4NC^2 + 2N^2C multiplications of
    attention, and 8N'C^2 of the MLP.
    """
    tokens = shape.num_tokens
    whole = cost_of(Work.of(tokens, tokens), tokens, tokens, shape)
    pairs = cost_of(Work(0, tokens**2, tokens**2, 0, 0), tokens, tokens, shape).attention
    spent = [
        (whole.attention - pairs) * attention + pairs * attention**2 + whole.mlp * mlp
        for attention, mlp in shares
    ]
    return torch.stack(spent).sum() / (whole.flops * len(spent))


def silent_attention(
    block: Block, x: Tensor, weights: Tensor, mask: Tensor | None = None, eps: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The first half of a block, with keys weighted after the exponential, so that 0 has a gradient.

    Args:
        block: the block.
        x: tokens `[B, N, C]`.
        weights: weight of each key, `[B, N]`.
        mask: further weights, `[B, N]`, which do not hide a token from itself (DiffRate, DynamicViT).
        eps: added to numerators (divided by N) and denominators.

    Returns:
        Tokens after attention `[B, N, C]`, and the map `[B, H, N, N]`.
    """
    q, k, v = halves.project_qkv(block, block.norm1(x))
    scale = getattr(block.attn, "scale", None) or q.shape[-1] ** -0.5
    map_ = weigh_softmax(q @ k.mT * scale, weights, mask, eps)
    return x + halves.attention_branch(block, halves.attend_by_map(block, map_, v)), map_


def weigh_softmax(logits: Tensor, weights: Tensor, mask: Tensor | None = None, eps: float = 0.0) -> Tensor:
    """Softmax `[B, H, N, N]` with weighted keys, see `silent_attention`."""
    policy = weights[:, None, None]
    if mask is not None:
        unit = torch.eye(mask.shape[1], dtype=mask.dtype, device=mask.device)
        policy = policy * (mask[:, None, None] * (1 - unit) + unit)
    share = (logits - logits.amax(-1, keepdim=True).detach()).exp() * policy
    return (share + eps / logits.shape[-1]) / (share.sum(-1, keepdim=True) + eps)


def through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard` with the gradient of `soft`: the straight-through estimator."""
    return hard.detach() + (soft - soft.detach())


def best_targets(x: Tensor, is_target: Tensor) -> tuple[Tensor, Tensor]:
    """The most similar target of every token, by cosine: similarity, with gradients, and position, 2 x `[B,
    N]`.

    Args:
        x: features `[B, N, D]`.
        is_target: `[B, N]` bool; a token is not its own target.
    """
    unit = nn.functional.normalize(x, dim=-1)
    with torch.no_grad():
        scores = (unit @ unit.mT).masked_fill(~is_target.unsqueeze(1), -torch.inf)
        scores.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
        target = scores.argmax(2)
    similarity = (unit * unit.gather(1, target.unsqueeze(2).expand_as(unit))).sum(-1)
    return similarity, target


def head_width(block: Block) -> int:
    """D, channels of one head."""
    return int(block.attn.qkv.out_features) // (3 * int(block.attn.num_heads))
