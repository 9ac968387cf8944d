"""One pass of tokens through a trunk, block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .blocks.guard import call_whole
from .blocks.halves import attention_half, mlp_half
from .blocks.parts import Block, parts_of
from .blocks.positions import NOTHING, Given, has_own_bias, locate
from .errors import MethodError, PatchError, PlanError
from .method_parts.controls import front_to_last, last_to_front, turned
from .method_parts.held import Holding
from .method_parts.protection import fit_mask
from .method_parts.read_masks import ReadMask
from .method_parts.reductions import Applied, Route, require_count
from .method_parts.restores import Ended
from .method_parts.seen import Seen, Watch
from .plans.ops import merge, unmerge
from .plans.plan import MergePlan
from .plans.ragged import find_live
from .schedule import count_removed
from .schedule_limits import say_where_limited, say_where_unread
from .trunk_settings import TrunkSettings

Mask = Tensor | ReadMask | Callable[[Tensor], Tensor]
"""Tokens to protect, `[B, N]` bool, or a function that computes them from the tokens `[B, N, C]` that enter a
trunk, or a mask that is read at a block.
"""

ByBlock = dict[int, Route]
"""Routes of a pass by the number of the block, in the order of the blocks; not those that removed nothing."""


class TrunkPass:
    """One pass of tokens through a trunk; records what has merged so far, and so where every token is now.

    A pass is updated only after complete steps, and replaces its fields instead of changing them: a
    `copy.copy` of it is a second pass that may continue differently.

    Args:
        settings: how to merge; the schedule must merge in at least one of `depth` blocks.
        depth: blocks of the trunk.
        mask: tokens to protect, see `run_trunk`.
        learned: the module of a method that learns.
        held: plans to use again, see `PatchHandle.holding`.

    Raises:
        MethodError: the method learns, but there is no module.
        PatchError: the mask is read at a block that the trunk does not have.
    """

    def __init__(
        self,
        settings: TrunkSettings,
        depth: int,
        mask: Mask | None = None,
        learned: nn.Module | None = None,
        held: Holding | None = None,
    ) -> None:
        if settings.method.learn is not None and learned is None:
            raise MethodError(
                f"method {settings.method.name!r} has learned parts: use patch, whose handle stores them, "
                "or pass learned=method.learn(blocks)."
            )
        self.settings = settings
        self.depth = depth
        self.learned = learned
        self.held = held
        self._mask = mask
        if isinstance(mask, ReadMask):
            mask.require_block(depth)
            if not torch.compiler.is_compiling():
                say_where_unread(settings.schedule, depth, mask.block)
        self._asked = settings.schedule.per_layer(depth)
        self._counts_sizes = settings.proportional and settings.method.proportional
        self._ending = settings.ending
        self._made: tuple[Route, ...] = ()  # for tokens in the order that `reduce` returns
        self._blocks: tuple[int, ...] = ()  # which block made each
        self._history: tuple[Applied, ...] = ()
        self._size: Tensor | None = None
        self._protected: Tensor | None = None
        self._has_read = False
        self._slots: Tensor | None = None  # position of each slot, for attention that depends on it

    @property
    def plans(self) -> tuple[Route, ...]:
        """One route per step that reduced tokens, each from the first tokens on, in the original order."""
        if self.settings.protect == "last":
            return tuple(turned(route, self.settings.num_prefix_tokens) for route in self._made)
        return self._made

    @property
    def plans_by_block(self) -> ByBlock:
        """`plans` by the number of the block that reduced tokens."""
        return dict(zip(self._blocks, self.plans, strict=True))

    def reduce(self, x: Tensor) -> Tensor:
        """Average tokens of the full grid into the current slots: `[B, N, C]` to `[B, M, C]`.

        Undoes `restore` exactly, because the mean of equal tokens is the same token (after linear steps, up
        to rounding).

        Raises:
            PlanError: `x` is not `[B, N, C]`, has fewer tokens than the prefix, or another number than at the
                start of the pass; or the mask does not fit it.
        """
        self._require_tokens(x)
        if not self._made and self._protected is None and (given := self._given(x)) is not None:
            mask = fit_mask(given.to(x.device), x.shape[0], x.shape[1], self.settings.num_prefix_tokens)
            self._protected = self._turn(mask)
        x = self._turn(x)
        return self._run("merging", _reduce_again, x, self._made[-1]) if self._made else x

    def _turn(self, x: Tensor) -> Tensor:
        """Tokens `[B, N, C]`, or values of them `[B, N]`, with those in front that never merge."""
        is_turned = self.settings.protect == "last"
        return last_to_front(x, self.settings.num_prefix_tokens) if is_turned else x

    def _given(self, x: Tensor) -> Tensor | None:
        """The mask that is known when the tokens `[B, N, C]` enter the trunk, in their order."""
        mask = self._mask
        if isinstance(mask, ReadMask):
            return mask.begin()
        return mask if mask is None or isinstance(mask, Tensor) else mask(x)

    def step(self, number: int, block: Block, x: Tensor, given: Given = NOTHING) -> Tensor:
        """Run a block on the current slots, removing the number of tokens in the schedule.

        Args:
            number: number of the block in its trunk, from 0.
            block: the block.
            x: slots, `[B, M, C]`.
            given: positions of all tokens that the model gives the block.

        Returns:
            The slots after the block, the same number or fewer.
        """
        self._read_mask(number, block, x, given)
        settings, asked = self.settings, self._asked[number]
        method, prefix = settings.method, settings.num_prefix_tokens
        r = count_removed(asked, x.shape[1], prefix, method.limit, method.shares_all)
        if r == 0 and not self._made:
            return call_whole(block, x, given)
        block = parts_of(block)
        seen = Seen(
            x, self._size, number, self.depth, prefix, self._protected, self._counts_sizes, settings.grid,
            asked if isinstance(asked, tuple) else (), self.learned, self._made[-1] if self._made else None,
            self.held, method.name, method.needs, settings.watch, getattr(block.attn, "scale", None),
            certain=settings.certain,
        )  # fmt: skip
        seen.where = locate(block.attn, given, self._slots)
        if seen.where is not None and self.held is not None:
            raise PatchError(
                "held plans do not say which token leads a slot, but attention in this ViT depends on the "
                "position of that token: run it without handle.holding(...)."
            )
        seen.keeps_history = self._ending is not None and self._ending.needs_history
        if r == 0:
            return self._run_whole(block, seen)
        method.step(block, seen, r)
        if method.reads == "counts":
            removed = x.shape[1] - seen.tokens.shape[1]
            require_count(removed, r if method.removes else 0, x.shape[1], number, method.name)
        if seen.reduction is not None:
            assert seen.route is not None
            self._made = (*self._made, seen.route)
            self._blocks = (*self._blocks, number)
            self._size, self._protected = seen.sizes, seen.mask
            self._history = (*self._history, *seen.history)
            self._slots = None if seen.where is None else seen.where.slots
        return seen.tokens

    def _read_mask(self, number: int, block: Block, x: Tensor, given: Given) -> None:
        """Read the mask of the slots `[B, M, C]` that enter a block, if this is the block for it."""
        mask = self._mask
        if not isinstance(mask, ReadMask) or self._has_read or number < mask.block:
            return
        if number > mask.block:
            raise PatchError(
                f"the mask of this ViT is read from the tokens that enter block {mask.block}, but this pass "
                f"began at block {number}: run all blocks, or give each block the output of the previous "
                "one."
            )
        if given or has_own_bias(parts_of(block).attn):
            raise PatchError(
                "a mask that is read from the tokens knows nothing of positions, but attention in this ViT "
                "depends on them: give the mask as a tensor, or a function of the tokens."
            )
        prefix, before = self.settings.num_prefix_tokens, self._protected
        live = find_live(self._made[-1] if self._made else None, self._size)
        own, kept = (None if flags is None else flags[:, prefix:] for flags in (before, live))
        shown = self._run("matching", mask.read, x[:, prefix:], parts_of(block), own, kept)
        self._protected = fit_mask(shown, x.shape[0], x.shape[1], prefix)
        self._has_read = True

    def _run_whole(self, block: Block, seen: Seen) -> Tensor:
        """A block that removes nothing; run from its parts if attention is proportional, or depends on
        positions.
        """
        weights = seen.weights
        if weights is None and not self._counts_sizes and seen.where is None:
            return call_whole(block, seen.tokens)
        x, _ = seen.run("attention", attention_half, block, seen.tokens, weights, seen.where)
        whole: Tensor = seen.run("MLP", mlp_half, block, x)
        return whole

    def restore(self, x: Tensor) -> Tensor:
        """Give every original token the feature of its slot: `[B, M, C]` to `[B, N, C]`."""
        return self._put_back(self._run("unmerging", unmerge, x, self._made[-1]) if self._made else x)

    def leave(self, x: Tensor) -> Tensor:
        """End the pass as set: with all tokens restored, as a sparse grid, or as the slots `[B, M, C]`."""
        if self._ending is not None and self._made:
            x = self._run("unmerging", self._ending.restore, Ended(x, self._made[-1], self._history))
        return self._put_back(x)

    def _run(self, part: str, function: Any, *arguments: Any) -> Any:
        watch: Watch | None = self.settings.watch
        return function(*arguments) if watch is None else watch.call(part, function, *arguments)

    def _put_back(self, x: Tensor) -> Tensor:
        is_turned = self.settings.protect == "last"
        return front_to_last(x, self.settings.num_prefix_tokens) if is_turned else x

    def _require_tokens(self, x: Tensor) -> None:
        settings = self.settings
        if x.ndim != 3:
            raise PlanError(f"merging needs tokens [B, N, C], but this trunk was given {list(x.shape)}.")
        if x.shape[1] < settings.num_prefix_tokens:
            raise PlanError(
                f"num_prefix_tokens = {settings.num_prefix_tokens}, but there are only {x.shape[1]} tokens."
            )
        # a log call would break the graph
        if not torch.compiler.is_compiling():
            say_where_limited(
                settings.schedule, self.depth, x.shape[1], settings.num_prefix_tokens, settings.method.name,
                settings.method.limit, settings.method.shares_all, settings.method.removes,
            )  # fmt: skip


def _reduce_again(x: Tensor, route: Route) -> Tensor:
    return merge(x, route)[0] if isinstance(route, MergePlan) else route.reduce(x)
