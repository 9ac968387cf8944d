"""Positions that attention depends on: rotary embeddings, and biases between pairs of tokens.

They belong to the places of a grid, so they must follow the tokens: every slot keeps the position of the
token that leads it (`MergePlan.leaders`), whichever others have joined it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import MethodError
from ..plans.plan import MergePlan

ROTARY = "rope"
"""Name of a block's argument with sines and cosines, as in timm."""
BIASES = ("shared_rel_pos", "shared_rel_pos_bias")
"""Names of a block's argument with a bias that all blocks share."""
FOLLOWED = (ROTARY, *BIASES)
Given = Mapping[str, Tensor]
"""Positions that a model gives a block besides tokens, by the name of the argument."""
NOTHING: Given = {}


@dataclass(frozen=True, eq=False)
class Positions:
    """Where the tokens of one block are.

    Attributes:
        rotary: sines, then cosines, of the tokens after the attention's own prefix, `[..., N - T, 2 D]`; None
            for attention that rotates nothing.
        bias: what is added to the logits, `[B or 1, H or 1, N, N]`; None for nothing.
        slots: position of the token that leads each slot, `[B, M]` int64; None before the first reduction.
    """

    rotary: Tensor | None = None
    bias: Tensor | None = None
    slots: Tensor | None = None

    def follow(self, route: object) -> Positions:
        """The positions after a reduction.

        Raises:
            MethodError: its slots are mixtures of all tokens, which have no position.
        """
        if not isinstance(route, MergePlan):
            raise MethodError(
                "this method mixes all tokens, but attention in this ViT depends on positions, which a "
                "mixture does not have: use a method that merges or prunes."
            )
        leaders = route.leaders()
        return replace(self, slots=leaders if self.slots is None else self.slots.gather(1, leaders))

    def rotate(self, x: Tensor, num_prefix: int, by_halves: bool) -> Tensor:
        """Queries or keys `[B, H, M, D]`, rotated by their positions.

        Args:
            x: queries or keys.
            num_prefix: tokens at the front of the full grid that are not rotated.
            by_halves: whether channel d is rotated with channel d + D / 2; False with its neighbour.
        """
        if self.rotary is None:
            return x
        sine, cosine = self._of_slots(self.rotary, num_prefix).chunk(2, -1)
        return (x * cosine + _turn(x, by_halves) * sine).to(x.dtype)

    def _of_slots(self, rotary: Tensor, num_prefix: int) -> Tensor:
        sine, cosine = rotary.chunk(2, -1)
        before = (*rotary.shape[:-2], num_prefix, sine.shape[-1])
        still = torch.cat([sine.new_zeros(before), cosine.new_ones(before)], -1)  # rotates nothing
        whole = torch.cat([still, rotary], -2)
        if self.slots is None:
            return whole
        whole = whole.view(*(1,) * (4 - whole.ndim), *whole.shape)
        whole = whole.expand(self.slots.shape[0], -1, -1, -1)  # [B, H or 1, N, 2 D]
        rows = self.slots[:, None, :, None].expand(-1, whole.shape[1], -1, whole.shape[3])
        return whole.gather(2, rows)

    def logits(self, queries: slice = slice(None)) -> Tensor | None:
        """The bias between the present slots, `[B or 1, H or 1, M, M]`, or that of some queries."""
        if self.bias is None or self.slots is None:
            return None if self.bias is None else self.bias[:, :, queries]
        bias = self.bias.expand(self.slots.shape[0], -1, -1, -1)
        rows = self.slots[:, None, queries, None].expand(-1, bias.shape[1], -1, bias.shape[3])
        bias = bias.gather(2, rows)
        columns = self.slots[:, None, None, :].expand(-1, bias.shape[1], bias.shape[2], -1)
        return bias.gather(3, columns)


def _turn(x: Tensor, by_halves: bool) -> Tensor:
    if by_halves:
        first, second = x.chunk(2, -1)
        return torch.cat([-second, first], -1)
    return torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)


def locate(attn: Any, given: Given, slots: Tensor | None = None) -> Positions | None:
    """The positions for one block: those that the model gives it, and its own bias; None if there are none.

    Args:
        attn: the block's attention.
        given: what the model gives the block.
        slots: position of each slot, `[B, M]`; None before the first reduction.
    """
    biases = [given[name] for name in BIASES if name in given]
    if (own := _own_bias(attn)) is not None:
        biases.append(own)
    if not biases and ROTARY not in given:
        return None
    bias = None
    for term in biases:
        term = term if term.ndim == 4 else term.unsqueeze(0)
        bias = term if bias is None else bias + term
    return Positions(given.get(ROTARY), bias, slots)


def has_own_bias(attn: Any) -> bool:
    """Whether attention has a bias of its own between pairs of positions."""
    return getattr(attn, "rel_pos", None) is not None or _table(attn) is not None


def _own_bias(attn: Any) -> Tensor | None:
    """`[1, H, N, N]` or `[H, N, N]`: timm's `rel_pos`, or BEiT's table with an index."""
    module = getattr(attn, "rel_pos", None)
    if module is not None:
        bias: Tensor = module.get_bias()
        return bias
    table = _table(attn)
    return None if table is None else table[attn.relative_position_index].permute(2, 0, 1)


def _table(attn: Any) -> Tensor | None:
    table: Tensor | None = getattr(attn, "relative_position_bias_table", None)
    return table
