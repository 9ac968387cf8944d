"""A sequence of blocks, run with merging between attention and MLP: a pure function."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .blocks import Block, attention_half, find_misfit, mlp_half
from .controls import front_to_last, last_to_front, plan_front_to_last, unmerge_sparse
from .errors import PatchError, PlanError
from .kernels import merging
from .kernels.choice import uses_triton
from .methods import Method, find_method
from .ops import merge, sum_dtype
from .ops import unmerge as unmerge_tokens
from .plan import MergePlan
from .schedule import Schedule, limit_removal, say_where_limited

Unmerge = bool | Literal["sparse"]
Protect = Literal["first", "last"]


@dataclass(frozen=True)
class TrunkSettings:
    """How to run a trunk; see `run_trunk` for the meaning of each."""

    schedule: Schedule
    method: Method
    num_prefix_tokens: int = 0
    unmerge: Unmerge = True
    proportional: bool = True
    protect: Protect = "first"

    def __post_init__(self) -> None:
        if self.unmerge not in (True, False, "sparse"):
            raise PatchError(f"unmerge = {self.unmerge!r}: use True, False or 'sparse'.")
        if self.protect not in ("first", "last"):
            raise PatchError(
                f"protect = {self.protect!r}: use 'first', or 'last' to reproduce published runs."
            )
        prefix = self.num_prefix_tokens
        if isinstance(prefix, bool) or not hasattr(prefix, "__index__") or operator.index(prefix) < 0:
            raise PatchError(
                f"num_prefix_tokens = {prefix!r}: use 0, 1, 2, ..., the tokens in front of the patches."
            )
        if type(prefix) is not int:  # numpy's integers, for instance
            object.__setattr__(self, "num_prefix_tokens", operator.index(prefix))
        if self.protect == "last" and not self.num_prefix_tokens:
            raise PatchError(
                "protect = 'last' with no tokens to protect: only models with task tokens differ."
            )

    def merges(self, depth: int) -> bool:
        """Whether anything merges in a trunk of so many blocks.

        Raises:
            ScheduleError: the schedule is for more blocks.
        """
        return any(self.schedule.per_layer(depth))


def run_trunk(
    blocks: Iterable[nn.Module],
    x: Tensor,
    schedule: Any,
    *,
    method: str | Method = "tome",
    num_prefix_tokens: int = 0,
    unmerge: Unmerge = True,
    proportional: bool = True,
    protect: Protect = "first",
) -> tuple[Tensor, MergePlan]:
    """Run all blocks, removing tokens as the schedule says; `"off"` is `for b in blocks: x = b(x)`.

    Blocks before the first merge run as they are. From there on, `blocks.attention_half` and
    `blocks.mlp_half` stand for a block's own forward, so hooks on the block and on its `attn` are not called
    (those of other parts are).

    Args:
        blocks: pre-norm transformer blocks, see `shared_tmu.blocks`.
        x: tokens, `[B, N, C]`.
        schedule: a `Schedule`, or anything `Schedule.parse` reads.
        method: row of `METHODS`.
        num_prefix_tokens: tokens at the front (class, register, task) that never merge and stay first.
        unmerge: give every original token its slot's features after the last block; False returns the short
            sequence; "sparse", a control, gives them to each slot's first token only and zeros to the others.
        proportional: add log(size) to the attention logits, as ToMe does.
        protect: "first", or "last": leave as many tokens at the end out of merging instead of those in front,
            as published TMU does where task tokens are in front. It merges the task tokens; it is here to be
            compared with.

    Returns:
        Tokens `[B, N, C]` (`[B, M, C]` without unmerging), and the plan from the N tokens to the last M
        slots.

    Raises:
        ScheduleError: an unreadable schedule, or one for more layers than there are blocks.
        PatchError: blocks that are not recognised.
        PlanError: `x` is not `[B, N, C]`, or has fewer tokens than the prefix.
    """
    settings = TrunkSettings(
        Schedule.parse(schedule), find_method(method), num_prefix_tokens, unmerge, proportional, protect
    )
    blocks = list(blocks)
    for number, block in enumerate(blocks if not torch.compiler.is_compiling() else ()):
        if misfit := find_misfit(block):
            raise PatchError(f"block {number} ({type(block).__name__}) is not a ViT block: {misfit}.")
    batch, tokens = x.shape[:2]
    out, plans = run_blocks(blocks, x, settings)
    return out, plans[-1] if plans else MergePlan.identity(batch, tokens, x.device)


def run_blocks(
    blocks: Sequence[Block], x: Tensor, settings: TrunkSettings
) -> tuple[Tensor, tuple[MergePlan, ...]]:
    """`run_trunk` on blocks that are known to fit.

    Returns:
        Tokens, and one plan per block that merged, each from the N tokens of `x` to the slots after that
        block.
    """
    if not settings.merges(len(blocks)):
        for block in blocks:
            x = block(x)
        return x, ()
    run = TrunkPass(settings, len(blocks))
    x = run.reduce(x)
    for number, block in enumerate(blocks):
        x = run.step(number, block, x)
    return run.leave(x), run.plans


class TrunkPass:
    """One pass of tokens through a trunk: what has merged so far, and so where every token is now.

    A pass is only ever told of whole steps, and replaces what it holds: a `copy.copy` of it is a second pass
    that may go on differently.

    Args:
        settings: how to merge; they merge somewhere in `depth` blocks.
        depth: blocks of the trunk.
    """

    def __init__(self, settings: TrunkSettings, depth: int) -> None:
        self.settings = settings
        self._asked = settings.schedule.per_layer(depth)
        self._made: tuple[MergePlan, ...] = ()  # of tokens in the order that `reduce` gives them
        self._size: Tensor | None = None

    @property
    def plans(self) -> tuple[MergePlan, ...]:
        """One per step that merged, each from the first tokens on, in their own order."""
        if self.settings.protect == "last":
            return tuple(plan_front_to_last(plan, self.settings.num_prefix_tokens) for plan in self._made)
        return self._made

    def reduce(self, x: Tensor) -> Tensor:
        """Bring tokens of the full grid to the slots of now: `[B, N, C]` to the mean of each, `[B, M, C]`.

        Undoes `restore` exactly, since equal tokens have no other mean.

        Raises:
            PlanError: `x` is not `[B, N, C]`, has fewer tokens than the prefix, or more or fewer than when
                the pass began.
        """
        _require_tokens(x, self.settings, len(self._asked))
        if self.settings.protect == "last":
            x = last_to_front(x, self.settings.num_prefix_tokens)
        return merge(x, self._made[-1])[0] if self._made else x

    def step(self, number: int, block: Block, x: Tensor) -> Tensor:
        """Run a block on the slots of now, merging as many as the schedule asks at its number.

        Args:
            number: of the block in its trunk, from 0.
            block: the block.
            x: slots, `[B, M, C]`.

        Returns:
            Slots after the block, as many or fewer.
        """
        settings = self.settings
        r = limit_removal(self._asked[number], x.shape[1], settings.num_prefix_tokens)
        weights = self._size if settings.proportional else None
        if r == 0 and weights is None:
            out: Tensor = block(x)
            return out
        x, keys = attention_half(block, x, weights)  # [B, M, C], [B, H, M, D]
        if r > 0:
            plan = settings.method.plan(mean_keys(keys), r, settings.num_prefix_tokens)
            before = self._made[-1] if self._made else None
            x, self._size, total = _reduce(settings.method, x, plan, self._size, before)
            self._made = (*self._made, total)
        return mlp_half(block, x)

    def restore(self, x: Tensor) -> Tensor:
        """Give every original token what its slot has: `[B, M, C]` to `[B, N, C]`."""
        return self._put_back(unmerge_tokens(x, self._made[-1]) if self._made else x)

    def leave(self, x: Tensor) -> Tensor:
        """End the pass as the settings say: restored, as a sparse grid, or the slots `[B, M, C]` alone."""
        if self.settings.unmerge == "sparse" and self._made:
            return self._put_back(unmerge_sparse(x, self._made[-1]))
        return self.restore(x) if self.settings.unmerge else self._put_back(x)

    def _put_back(self, x: Tensor) -> Tensor:
        is_turned = self.settings.protect == "last"
        return front_to_last(x, self.settings.num_prefix_tokens) if is_turned else x


def _reduce(
    method: Method, x: Tensor, plan: MergePlan, size: Tensor | None, before: MergePlan | None
) -> tuple[Tensor, Tensor, MergePlan]:
    """Tokens `[B, M, C]`, sizes `[B, M]`, and the plan from the first tokens on; in Triton in one launch."""
    if method.reduce is merge and uses_triton(x):
        return merging.merge_and_compose(x, plan, size, before)
    x, size = method.reduce(x, plan, size)
    return x, size, plan if before is None else before.then(plan)


@torch.no_grad()
def mean_keys(keys: Tensor) -> Tensor:
    """The metric: keys `[B, H, N, D]` averaged over heads, `[B, N, D]`, in float32 (float64 for float64)."""
    return keys.mean(dim=1, dtype=sum_dtype(keys))


def _require_tokens(x: Tensor, settings: TrunkSettings, depth: int) -> None:
    if x.ndim != 3:
        raise PlanError(f"merging takes tokens [B, N, C], this trunk was given {list(x.shape)}.")
    if x.shape[1] < settings.num_prefix_tokens:
        raise PlanError(
            f"num_prefix_tokens = {settings.num_prefix_tokens}, but there are only {x.shape[1]} tokens."
        )
    if not torch.compiler.is_compiling():  # a log call would break the graph
        say_where_limited(settings.schedule, depth, x.shape[1], settings.num_prefix_tokens)
