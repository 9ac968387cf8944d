"""MergePlan: which tokens share a slot, decided once, applied many times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import PlanError
from .checks import check_maps, count_members
from .sorting import sort_stably


@dataclass(frozen=True, eq=False)
class Moves:
    """The same plan in terms of slots: one token leads each slot, and the R = N - M others join a leader.

    All numbers run through the images one after the other: token n of image b is b * N + n, slot m is
    b * M + m.

    Attributes:
        leaders: token that leads each slot, `[B * M]` int64.
        others: tokens that do not lead a slot, `[B * R]` int64, in any order within their image.
        slots: slot that each of the others joins, `[B * R]` int64.
    """

    leaders: Tensor
    others: Tensor
    slots: Tensor


class MergePlan:
    """Where every token goes: token n of image b is carried by slot `source_map[b, n]` of `num_slots`.

    A plan is immutable. It is made from a source map, or by a planner from its `Moves`; each is computed from
    the other when needed.

    There are two special kinds. A plan that prunes has -1 in its source map for every token that no slot
    carries, and a second map that names the slots which these tokens copy when the grid is restored. A plan
    for images that keep different numbers of tokens is padded: the slots that an image does not need are its
    last ones and carry nothing.

    Args:
        source_map: `[B, N]` int64, values 0..M-1, or -1 for a pruned token; every slot carries a token.
        num_slots: M, tokens left after the merge.
        validate: check every value; False avoids a GPU synchronisation.
        copy_map: `[B, N]` int64, values 0..M-1: the slot whose features each token gets back, which is its
            own slot for tokens that are carried. None where nothing is pruned.
        is_padded: whether images may leave their last slots empty.

    Raises:
        PlanError: a map is not `[B, N]` int64, or (if validated) names a slot that does not exist, leaves one
            empty, prunes without saying what is copied, or copies for a carried token from another slot.
    """

    _source_map: Tensor | None = None
    _copy_map: Tensor | None = None
    _moves: Moves | None = None
    _steps: tuple[MergePlan, MergePlan] | None = None
    _make: Callable[[], tuple[Tensor, Tensor]] | None = None
    _prunes = False
    _is_padded = False

    def __init__(
        self,
        source_map: Tensor,
        num_slots: int,
        validate: bool = True,
        *,
        copy_map: Tensor | None = None,
        is_padded: bool = False,
    ) -> None:
        for name, given in (("source", source_map), ("copy", copy_map)):
            if given is not None and (given.ndim != 2 or given.dtype != torch.int64):
                raise PlanError(f"a {name} map must be [B, N] int64, not {list(given.shape)} {given.dtype}.")
        if copy_map is not None and copy_map.shape != source_map.shape:
            raise PlanError(
                f"the source map is {list(source_map.shape)}, but the copy map is {list(copy_map.shape)}: "
                "both must have one number per token."
            )
        self._source_map, self._copy_map = source_map, copy_map
        self._prunes, self._is_padded = copy_map is not None, is_padded
        self._shape, self._num_slots = (source_map.shape[0], source_map.shape[1]), num_slots
        if validate:
            self.check()

    @classmethod
    def from_moves(cls, moves: Moves, batch_size: int, num_tokens: int, num_slots: int) -> MergePlan:
        """A plan for B images of N tokens; the moves are not checked."""
        plan = cls.__new__(cls)
        plan._moves = moves
        plan._shape, plan._num_slots = (batch_size, num_tokens), num_slots
        return plan

    @classmethod
    def from_maps(
        cls, make: Callable[[], tuple[Tensor, Tensor]], batch_size: int, num_tokens: int, num_slots: int
    ) -> MergePlan:
        """A plan that prunes, whose source and copy map are computed when needed; they are not checked."""
        plan = cls.__new__(cls)
        plan._make, plan._prunes = make, True
        plan._shape, plan._num_slots = (batch_size, num_tokens), num_slots
        return plan

    @classmethod
    def identity(
        cls, batch_size: int, num_tokens: int, device: torch.device | str | None = None
    ) -> MergePlan:
        """The plan that merges nothing: `[B, N]`, every token its own slot."""
        slots = torch.arange(num_tokens, device=device).expand(batch_size, -1)
        return cls(slots, num_tokens, validate=False)

    def __repr__(self) -> str:
        return f"MergePlan({self.source_map!r}, {self.num_slots})"

    @property
    def num_slots(self) -> int:
        """M, tokens left after the merge."""
        return self._num_slots

    @property
    def batch_size(self) -> int:
        """B, images planned for."""
        return self._shape[0]

    @property
    def num_tokens(self) -> int:
        """N, tokens before the merge."""
        return self._shape[1]

    @property
    def prunes(self) -> bool:
        """Whether tokens may be dropped, so that no slot carries them."""
        return self._prunes

    @property
    def is_padded(self) -> bool:
        """Whether an image may leave its last slots empty."""
        return self._is_padded

    @property
    def source_map(self) -> Tensor:
        """Slot of every token, `[B, N]` int64; -1 for tokens that were pruned."""
        if self._source_map is None:
            self._work_out()
        assert self._source_map is not None
        return self._source_map

    @property
    def copy_map(self) -> Tensor:
        """Slot whose features every token gets back, `[B, N]` int64; the source map if nothing is pruned."""
        if not self._prunes:
            return self.source_map
        if self._copy_map is None:
            self._work_out()
        assert self._copy_map is not None
        return self._copy_map

    def _work_out(self) -> None:
        """Make the maps from two steps, or from moves."""
        steps = self._steps  # another thread may have done the same meanwhile
        if steps is None:
            if self._make is not None:
                self._source_map, self._copy_map = self._make()
            elif self._source_map is None:
                self._source_map = self._read_moves(self.moves())
            return
        first, second = steps
        if self._prunes:
            self._copy_map = second.copy_map.gather(1, first.copy_map)
        self._source_map = _compose(first, second)
        self._steps = None

    def moves(self) -> Moves:
        """The leader of each slot and the tokens that join it, which is what `merge` uses.

        Raises:
            PlanError: the plan prunes or is padded, so it has tokens without a slot or slots without a token.
        """
        if self._moves is None:
            if self._prunes or self._is_padded:
                raise PlanError("a plan that prunes or is padded has no moves: use its source map.")
            self._moves = self._read_map(self.source_map)
        return self._moves

    def leaders(self) -> Tensor:
        """The token that leads each slot, `[B, M]` int64: the one that others join if a planner said which,
        else the first of the slot. Of padding, any token.
        """
        if not self._prunes and not self._is_padded:
            leaders = self.moves().leaders.view(self.batch_size, self.num_slots)
            return (
                leaders - torch.arange(self.batch_size, device=leaders.device).unsqueeze(1) * self.num_tokens
            )
        slots = self.source_map.where(self.source_map >= 0, self.num_slots)
        tokens = torch.arange(self.num_tokens, device=slots.device).expand_as(slots)
        first = tokens.new_full((self.batch_size, self.num_slots + 1), max(self.num_tokens - 1, 0))
        return first.scatter_reduce(1, slots, tokens, "amin")[:, : self.num_slots]

    def check(self) -> MergePlan:
        """Check every value of both maps; returns the plan itself.

        Raises:
            PlanError: a slot outside 0..M-1, one that carries no token (unless it is padding), a pruned token
                without a slot to copy, or a carried token that copies a slot other than its own.
        """
        if self.source_map.numel():
            copies = self.copy_map if self._prunes else None
            check_maps(self.source_map, copies, self.num_slots, self._is_padded)
        return self

    def sizes(self) -> Tensor:
        """Number of tokens that each slot carries, `[B, M]` int64: pruned tokens are not counted, padding is
        0.

        For a plan composed from the first layer on, these are the sizes.
        """
        return count_members(self.source_map, self.num_slots)

    def flat_map(self) -> Tensor:
        """The copy map into the slots of all images one after the other: image b's start at b * M."""
        slots = self.copy_map  # [B, N]
        start = torch.arange(self.batch_size, device=slots.device) * self.num_slots
        return (slots + start.unsqueeze(1)).flatten()

    def then(self, second: MergePlan) -> MergePlan:
        """The composition of this plan and `second`: `[B, N]` to `[B, M]` to `[B, M2]`.

        Its source map is computed only when needed: between the blocks of a large model every small
        operation costs time.

        Raises:
            PlanError: `second` was made for another number of tokens or images than this plan leaves.
        """
        if (second.batch_size, second.num_tokens) != (self.batch_size, self.num_slots):
            raise PlanError(
                f"the second plan was made for {second.num_tokens} tokens of {second.batch_size} images, "
                f"but the first one leaves {self.num_slots} tokens of {self.batch_size} images."
            )
        plan = MergePlan.__new__(MergePlan)
        plan._steps = (self, second)
        plan._prunes = self._prunes or second._prunes
        plan._is_padded = second._is_padded
        plan._shape, plan._num_slots = self._shape, second.num_slots
        return plan

    def require_fit(self, x: Tensor, num_tokens: int) -> None:
        """Refuse tokens other than `[B, num_tokens, ...]`, for which this plan was made.

        Raises:
            PlanError: another number of images or tokens, or not at least `[B, N]`.
        """
        if x.ndim < 2 or x.shape[0] != self.batch_size or x.shape[1] != num_tokens:
            raise PlanError(
                f"this plan needs tensors [{self.batch_size}, {num_tokens}, ...], but this one is "
                f"{list(x.shape)}."
            )

    def _read_moves(self, moves: Moves) -> Tensor:
        """The source map `[B, N]` that the moves describe."""
        slot = torch.empty(self.batch_size * self.num_tokens, dtype=torch.int64, device=moves.slots.device)
        slot.index_copy_(0, moves.leaders, torch.arange(moves.leaders.shape[0], device=slot.device))
        slot.index_copy_(0, moves.others, moves.slots)
        first = torch.arange(self.batch_size, device=slot.device).unsqueeze(1) * self.num_slots
        return slot.view(self._shape) - first

    def _read_map(self, source_map: Tensor) -> Moves:
        """The moves that the map describes: the first token of every slot leads it."""
        slots, tokens = sort_stably(source_map, dim=1)
        joins = torch.zeros_like(slots, dtype=torch.uint8)
        joins[:, 1:] = slots[:, 1:] == slots[:, :-1]
        _, order = sort_stably(joins, dim=1)  # leaders in the order of their slots, then the others
        image = torch.arange(self.batch_size, device=slots.device).unsqueeze(1)
        tokens = tokens.gather(1, order) + image * self.num_tokens
        slots = slots.gather(1, order[:, self.num_slots :]) + image * self.num_slots
        return Moves(
            tokens[:, : self.num_slots].flatten(), tokens[:, self.num_slots :].flatten(), slots.flatten()
        )


def _compose(first: MergePlan, second: MergePlan) -> Tensor:
    slots = first.source_map
    if not first.prunes:
        return second.source_map.gather(1, slots)
    return second.source_map.gather(1, slots.clamp_min(0)).where(slots >= 0, slots)
