"""MergePlan: which tokens share a slot, decided once, applied many times."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import PlanError


@dataclass(frozen=True, eq=False)
class Moves:
    """The same plan seen from its slots: one token leads each, the R = N - M others join a leader.

    All numbers run through the images one after the other: token n of image b is b * N + n, slot m is
    b * M + m.

    Attributes:
        leaders: token that leads each slot, `[B * M]` int64.
        others: tokens that lead none, `[B * R]` int64, in any order within their image.
        slots: slot that each of the others joins, `[B * R]` int64.
    """

    leaders: Tensor
    others: Tensor
    slots: Tensor


class MergePlan:
    """Where every token goes: token n of image b is carried by slot `source_map[b, n]` of `num_slots`.

    A plan is not changed once it is made. It is made from a source map, or by a planner from its `Moves`;
    each gives the other when it is asked for.

    Args:
        source_map: `[B, N]` int64, values 0..M-1; every slot carries at least one token.
        num_slots: M, tokens left after the merge.
        validate: look at every value; False spares a GPU a synchronisation.

    Raises:
        PlanError: the map is not `[B, N]` int64, or (if validated) names a slot that does not exist, or
            leaves one empty.
    """

    _source_map: Tensor | None = None
    _moves: Moves | None = None
    _steps: tuple[MergePlan, MergePlan] | None = None

    def __init__(self, source_map: Tensor, num_slots: int, validate: bool = True) -> None:
        if source_map.ndim != 2 or source_map.dtype != torch.int64:
            raise PlanError(f"a source map is [B, N] int64, not {list(source_map.shape)} {source_map.dtype}.")
        self._source_map = source_map
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
    def source_map(self) -> Tensor:
        """Slot of every token, `[B, N]` int64."""
        if self._source_map is None:
            steps = self._steps  # another thread may be here too, and be done
            self._source_map = _compose(*steps) if steps else self._read_moves(self.moves())
            self._steps = None
        return self._source_map

    def moves(self) -> Moves:
        """Who leads each slot, and who joins: what `merge` works with."""
        if self._moves is None:
            self._moves = self._read_map(self.source_map)
        return self._moves

    def check(self) -> MergePlan:
        """Look at every value of the map; returns the plan itself.

        Raises:
            PlanError: a slot outside 0..M-1, or one that carries no token.
        """
        if self.source_map.numel() == 0:
            return self
        low, high = (int(v) for v in self.source_map.aminmax())
        if low < 0 or high >= self.num_slots:
            raise PlanError(
                f"the source map names slots {low}..{high}, this plan has 0..{self.num_slots - 1}."
            )
        empty = (self.sizes() == 0).nonzero()
        if len(empty):
            image, slot = empty[0].tolist()
            raise PlanError(
                f"slot {slot} of image {image} carries no token ({len(empty)} such slots): "
                f"number the slots 0..M-1 without gaps."
            )
        return self

    def sizes(self) -> Tensor:
        """Tokens per slot, `[B, M]` int64: of a plan composed from the first layer on, the sizes."""
        zeros = torch.zeros(self.batch_size, self.num_slots, dtype=torch.int64, device=self.source_map.device)
        return zeros.scatter_add_(1, self.source_map, torch.ones_like(self.source_map))

    def flat_map(self) -> Tensor:
        """The map into the slots of all images one after the other: image b starts at b * M; `[B * N]`."""
        start = torch.arange(self.batch_size, device=self.source_map.device) * self.num_slots
        return (self.source_map + start.unsqueeze(1)).flatten()

    def then(self, second: MergePlan) -> MergePlan:
        """The single plan that does this one, then `second`: `[B, N]` to `[B, M]` to `[B, M2]`.

        Its source map is worked out when it is asked for: between the blocks of a large model every small
        operation waits for memory.

        Raises:
            PlanError: `second` was made for another number of tokens or images than this plan leaves.
        """
        if (second.batch_size, second.num_tokens) != (self.batch_size, self.num_slots):
            raise PlanError(
                f"the second plan was made for {second.num_tokens} tokens of {second.batch_size} images, "
                f"the first one leaves {self.num_slots} of {self.batch_size}."
            )
        plan = MergePlan.__new__(MergePlan)
        plan._steps = (self, second)
        plan._shape, plan._num_slots = self._shape, second.num_slots
        return plan

    def require_fit(self, x: Tensor, num_tokens: int) -> None:
        """Refuse tokens `[B, num_tokens, ...]` that this plan was not made for.

        Raises:
            PlanError: another number of images or tokens, or not at least `[B, N]`.
        """
        if x.ndim < 2 or x.shape[0] != self.batch_size or x.shape[1] != num_tokens:
            raise PlanError(
                f"this plan fits tensors [{self.batch_size}, {num_tokens}, ...], this one is {list(x.shape)}."
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
        slots, tokens = source_map.sort(dim=1, stable=True)
        joins = torch.zeros_like(slots, dtype=torch.uint8)
        joins[:, 1:] = slots[:, 1:] == slots[:, :-1]
        order = joins.argsort(dim=1, stable=True)  # leaders in the order of their slots, then the others
        image = torch.arange(self.batch_size, device=slots.device).unsqueeze(1)
        tokens = tokens.gather(1, order) + image * self.num_tokens
        slots = slots.gather(1, order[:, self.num_slots :]) + image * self.num_slots
        return Moves(
            tokens[:, : self.num_slots].flatten(), tokens[:, self.num_slots :].flatten(), slots.flatten()
        )


def _compose(first: MergePlan, second: MergePlan) -> Tensor:
    return second.source_map.gather(1, first.source_map)
