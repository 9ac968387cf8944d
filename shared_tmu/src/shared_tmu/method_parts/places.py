"""Where in a block a method acts: each place turns a planning function into a step.

A step runs one block, `step(block, seen, r)`: it takes the tokens from `seen.tokens`, and stores the block's
output there. Methods for which no place is suitable define their own step from the same parts: `attend`,
`compress` and `transform`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..blocks import halves
from ..blocks.parts import Block
from ..blocks.positions import Positions
from ..errors import MethodError
from ..flops import Work
from ..plans.ops import merge, unmerge
from .reductions import Planned, Reduction, require_count, require_reduction
from .seen import OF_ATTENTION, Needs, Seen

Plan = Callable[[Seen, int], Reduction | None]
"""Decides how to remove r of the tokens of `seen`; None removes nothing, which is allowed if thresholds
decide.
"""
Step = Callable[[Block, Seen, int], None]
"""Runs a block, removing r tokens in it."""


def attend(block: Block, seen: Seen) -> None:
    """The first half of a block, `x + attn(norm1(x))`; keeps the tensors that the method lists."""
    seen.tokens = seen.run("attention", _attend, block, seen)


def _attend(block: Block, seen: Seen) -> Tensor:
    normed = block.norm1(seen.tokens)
    q, k, v = halves.project_qkv(block, normed, seen.where)
    seen.keep(normed, q, k, v)
    if Needs.MAP in seen.needs:
        weights = halves.attention_map(block, q, k, seen.weights, seen.where)
        seen.parts[Needs.MAP] = weights
        heads = halves.attend_by_map(block, weights, v)
    else:
        heads = halves.attend(block, q, k, v, seen.weights, seen.where)
    return seen.tokens + halves.attention_branch(block, heads)


def decide(seen: Seen, plan: Plan, r: int) -> Reduction | None:
    """Call a planning function, or use the plans that are held for these images."""
    if seen.held is None:
        return seen.run("matching", plan, seen, r)  # type: ignore[no-any-return]
    return seen.run("matching", seen.held.decide, seen, plan, r)  # type: ignore[no-any-return]


def compress(seen: Seen, plan: Plan, r: int, carry: Needs = Needs.NOTHING) -> Reduction | None:
    """Call a planning function, and apply the reduction that it returns.

    A step may do this several times, for instance prune and then merge. `carry` lists the inputs of attention
    that the next plan reads: they are reduced like the tokens; all others are dropped, see `Seen.accept`.
    """
    reduction = decide(seen, plan, r)
    if reduction is not None:
        seen.accept(reduction, carry)
    return reduction


def transform(block: Block, seen: Seen) -> None:
    """The second half of a block, `x + mlp(norm2(x))`."""
    seen.tokens = seen.run("MLP", halves.mlp_half, block, seen.tokens)


@dataclass(frozen=True)
class Place:
    """A step with a plan in it.

    Attributes:
        plan: the method's planning function.
        undoes_at_once: whether the block returns as many tokens as it gets.
        requires: values without which the place cannot act.
    """

    plan: Plan
    undoes_at_once = False
    requires = Needs.NOTHING

    @property
    def lacks(self) -> Needs:
        """Values that a plan cannot read here, because they are computed later."""
        return Needs.NOTHING

    def work(self, before: int, after: int) -> Work:
        """What the parts of a block work on in which the method leaves `after` of `before` tokens."""
        raise NotImplementedError

    def __call__(self, block: Block, seen: Seen, r: int) -> None:
        """Run the block."""
        raise NotImplementedError


class Between(Place):
    """Attention, then the method, then the MLP: where most methods act."""

    def work(self, before: int, after: int) -> Work:
        """Attention among all tokens, the MLP on those that are left."""
        return Work.of(before, after)

    def __call__(self, block: Block, seen: Seen, r: int) -> None:
        """Run the block."""
        attend(block, seen)
        compress(seen, self.plan, r)
        transform(block, seen)


class Before(Place):
    """The method, then the whole block; the method cannot read queries, keys, values or attention."""

    @property
    def lacks(self) -> Needs:
        """All values of attention."""
        return OF_ATTENTION

    def work(self, before: int, after: int) -> Work:
        """The whole block on the tokens that are left."""
        return Work.of(after, after)

    def __call__(self, block: Block, seen: Seen, r: int) -> None:
        """Run the block."""
        compress(seen, self.plan, r)
        attend(block, seen)
        transform(block, seen)


class After(Place):
    """The whole block, then the method, which may read the block's queries, keys, values and attention."""

    def work(self, before: int, after: int) -> Work:
        """The whole block on all tokens."""
        return Work.of(before, before)

    def __call__(self, block: Block, seen: Seen, r: int) -> None:
        """Run the block."""
        attend(block, seen)
        transform(block, seen)
        compress(seen, self.plan, r)


@dataclass(frozen=True)
class Inside(Place):
    """The attention map of all tokens, then the method, then attention with the reduced map.

    The weights of keys that share a slot are added; queries that share a slot are combined like their tokens
    if possible (`Planned.takes_any_rows`), else weighted by size; values are those of the slots. So the map
    is not computed twice. Needs `MAP`.

    Attributes:
        reuses_map: False computes attention again, from the slots.

    Source: MCTF, Lee et al. 2024, arXiv:2403.10030, "one-step-ahead attention".
    """

    reuses_map: bool = True
    requires = Needs.MAP

    def work(self, before: int, after: int) -> Work:
        """The map of all tokens; values, from a second projection, and the MLP for the tokens that are left;
        if the map is not reused, also a second map of these.
        """
        pairs = before**2 if self.reuses_map else before**2 + after**2
        return Work(qkv=before + after, logits=pairs, values=after**2, out=after, mlp=after)

    def __call__(self, block: Block, seen: Seen, r: int) -> None:
        """Run the block."""
        seen.run("attention", self._look, block, seen)
        weights, size = seen.attention, seen.sizes
        reduction = compress(seen, self.plan, r)
        if self.reuses_map:
            if reduction is not None:
                weights = seen.run("merging", fuse_map, weights, reduction, size)
            seen.tokens = seen.run("attention", self._finish, block, seen.tokens, weights)
        else:
            attend(block, seen)
        transform(block, seen)

    def _look(self, block: Block, seen: Seen) -> None:
        normed = block.norm1(seen.tokens)
        q, k, v = halves.project_qkv(block, normed, seen.where)
        seen.keep(normed, q, k, v)
        seen.parts[Needs.MAP] = halves.attention_map(block, q, k, seen.weights, seen.where)

    def _finish(self, block: Block, x: Tensor, weights: Tensor) -> Tensor:
        _, _, v = halves.project_qkv(block, block.norm1(x))
        return x + halves.attention_branch(block, halves.attend_by_map(block, weights, v))


def fuse_map(weights: Tensor, reduction: Reduction, size: Tensor | None) -> Tensor:
    """The attention map of the slots, `[B, H, M, M]`, from that of the tokens, `[B, H, N, N]`.

    Queries are combined by the reduction's own `reduce` if it takes any rows, else by the mean weighted by
    size. If that is a mean, and nothing is pruned, rows still add up to 1.

    Raises:
        MethodError: the method mixes all tokens; a map of such slots has no meaning.
    """
    if not isinstance(reduction, Planned):
        raise MethodError(
            f"{type(reduction).__name__} mixes all tokens, so it cannot act inside attention: use another "
            "place."
        )
    (batch, heads, rows), plan = weights.shape[:3], reduction.plan
    slot = plan.source_map
    # weights of pruned keys are dropped
    slot = slot.where(slot >= 0, plan.num_slots) if plan.prunes else slot
    fused = weights.new_zeros(batch, heads, rows, plan.num_slots + plan.prunes)
    fused = fused.scatter_add(3, slot[:, None, None].expand_as(weights), weights)[..., : plan.num_slots]
    as_tokens = fused.transpose(1, 2).flatten(2)  # [B, N, H * M]
    reduced, _ = (
        reduction.reduce(as_tokens, size) if reduction.takes_any_rows else merge(as_tokens, plan, size)
    )
    return reduced.view(batch, plan.num_slots, heads, plan.num_slots).transpose(1, 2)


@dataclass(frozen=True)
class Around(Place):
    """One sub-layer runs on fewer tokens, and its output is given back to all tokens immediately.

    The plan sees the tokens that enter the sub-layer. There is nothing to undo at the end, and no sizes are
    kept.

    Attributes:
        part: `attention` or `MLP`.

    Source: tomesd, Bolya and Hoffman 2023, arXiv:2303.17604.
    """

    part: str = "attention"
    undoes_at_once = True

    @property
    def lacks(self) -> Needs:
        """All values of attention, unless the sub-layer is the MLP."""
        return OF_ATTENTION if self.part == "attention" else Needs.NOTHING

    def work(self, before: int, after: int) -> Work:
        """One of the two sub-layers on fewer tokens, the other on all."""
        return Work.of(after, before) if self.part == "attention" else Work.of(before, after)

    def __call__(self, block: Block, seen: Seen, r: int) -> None:
        """Run the block."""
        if self.part == "attention":
            self._shorten(block, seen, r, block.norm1, _attention_of)
            transform(block, seen)
        else:
            attend(block, seen)
            self._shorten(block, seen, r, block.norm2, _mlp_of)

    def _shorten(
        self,
        block: Block,
        seen: Seen,
        r: int,
        norm: Callable[[Tensor], Tensor],
        branch: Callable[[Block, Tensor, Positions | None], Tensor],
    ) -> None:
        reduction = decide(seen, self.plan, r)
        if reduction is not None:
            require_reduction(reduction, seen.method)
        if not seen.thresholds:
            removed = 0 if reduction is None else seen.shape[1] - reduction.route.num_slots
            require_count(removed, r, seen.shape[1], seen.layer, seen.method)
        normed = norm(seen.tokens)
        if reduction is None:
            seen.tokens = seen.tokens + seen.run(self.part, branch, block, normed, seen.where)
            return
        if seen.watch is not None:
            seen.watch.planned(seen, reduction)
        short, _ = seen.run("merging", reduction.reduce, normed, None)
        where = None if seen.where is None else seen.where.follow(reduction.route)
        added = seen.run(self.part, branch, block, short, where)
        seen.tokens = seen.tokens + seen.run("unmerging", unmerge, added, reduction.route)


def _attention_of(block: Block, normed: Tensor, where: Positions | None) -> Tensor:
    q, k, v = halves.project_qkv(block, normed, where)
    return halves.attention_branch(block, halves.attend(block, q, k, v, where=where))


def _mlp_of(block: Block, normed: Tensor, _: Positions | None) -> Tensor:
    return halves.mlp_branch(block, normed)
