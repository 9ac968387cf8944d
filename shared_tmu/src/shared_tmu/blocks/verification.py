"""The checked blocks of a trunk.

Every block that differs from the blocks before it in structure, in settings or by a method replaced on the
instance is tried out (`trial`), and again after a change.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from ..errors import PatchError
from .arguments import Defaults, read_defaults
from .halves import find_misfit
from .parts import is_sequence_first
from .positions import NOTHING, Given
from .probing import has_numbers
from .state import BlockState, describe_present, describe_structure
from .training_mode import TrainingNote
from .trial import verify_block

_tried: WeakKeyDictionary[nn.Module, tuple[list[Any], TrainingNote | None]] = WeakKeyDictionary()
_trying = threading.RLock()


class BlockCheck:
    """The checked blocks of a trunk; detects when one has changed since.

    Args:
        blocks: blocks of the trunk.
        shape: tokens and channels that enter them, None if unknown.
        given: positions that the model gives them.

    Attributes:
        defaults: arguments of each block besides tokens.
        given: the same positions; while merging, blocks are given these arguments and no others.
        is_sequence_first: whether the blocks take tokens as `[N, B, C]`.

    Raises:
        PatchError: a block computes something else; the message gives its number.
    """

    def __init__(
        self, blocks: Sequence[nn.Module], shape: tuple[int, int] | None = None, given: Given = NOTHING
    ) -> None:
        self._shape, self.given = shape, given
        self.is_sequence_first = bool(blocks) and is_sequence_first(blocks[0])
        self.defaults: list[Defaults] = []
        self._seen: list[BlockState] = []
        self._busy: set[tuple[int, int]] = set()  # blocks being checked, by number and thread
        self._notes: list[TrainingNote | None] = []
        verified: dict[tuple[Any, ...], TrainingNote | None] = {}
        for number, block in enumerate(blocks):
            kind = describe_structure(block)
            if kind not in verified:
                verified[kind] = self._verify(number, block)
            self._notes.append(verified[kind])
            self._seen.append(BlockState(block))
            self.defaults.append(read_defaults(block))

    def again(self, number: int, block: nn.Module) -> bool:
        """Check a block again if anything in it or its attention was replaced meanwhile; returns whether it
        was.

        Raises:
            PatchError: it computes something else now.
        """
        if self._seen[number].still_holds(block):
            return False
        busy = (number, threading.get_ident())
        if busy in self._busy:  # a forward that is bound to a step of a run would call that step again
            raise PatchError(
                f"block {number} was given a forward that calls the patched ViT to which the block belongs: "
                "assign a function that uses only the block's own parts."
            )
        self._busy.add(busy)
        try:
            self._notes[number] = self._verify(number, block)
        finally:
            self._busy.discard(busy)
        self._seen[number], self.defaults[number] = BlockState(block), read_defaults(block)
        return True

    def heed_mode(self, number: int, block: nn.Module) -> None:
        """Refuse a block in training mode if it then does more than merging knows.

        Raises:
            PatchError: it does.
        """
        note = self._notes[number]
        if note is not None:
            note.tell(number, block)

    def _verify(self, number: int, block: nn.Module) -> TrainingNote | None:
        if _is_sharded(block):
            raise PatchError(
                f"block {number}: the weights of {type(block).__name__} are spread over processes: patch "
                "first, then fully_shard the model as a whole, not its blocks."
            )
        return _try_out(number, block, self.is_sequence_first, self._shape, self.given)


def require_tried(blocks: Sequence[nn.Module], shape: tuple[int, int] | None = None) -> None:
    """Try out those of some blocks that were not tried yet, or have changed since.

    Args:
        blocks: blocks for which `find_misfit` returns None; those without weights yet, or whose weights are
            spread over processes, are not tried.
        shape: tokens and channels that enter them, None if unknown.

    Raises:
        PatchError: a block computes something else.
    """
    with _trying:  # another thread must not run them meanwhile, with random weights
        notes: dict[tuple[Any, ...], TrainingNote | None] = {}
        for number, block in enumerate(blocks):
            now, before = describe_present(block), _tried.get(block)
            is_new = before is None or before[0] != now
            if is_new and has_numbers(block) and not _is_sharded(block):
                kind = describe_structure(block)
                if kind not in notes:
                    notes[kind] = _try_out(number, block, is_sequence_first(blocks[0]), shape, NOTHING)
                before = _tried[block] = now, notes[kind]
            if before is not None and before[1] is not None:
                before[1].tell(number, block)


def _try_out(
    number: int, block: nn.Module, is_turned: bool, shape: tuple[int, int] | None, given: Given
) -> TrainingNote | None:
    try:
        if misfit := find_misfit(block):
            raise PatchError(f"{type(block).__name__} is not a ViT block that merging knows: {misfit}.")
        if is_sequence_first(block) != is_turned:
            raise PatchError("it takes tokens in another order, [N, B, C] or [B, N, C], than block 0.")
        return verify_block(block, shape, given)
    except PatchError as error:
        raise PatchError(f"block {number}: {error}") from error


def _is_sharded(module: nn.Module) -> bool:
    """Whether weights are spread over processes; avoids an import that takes seconds."""
    sharded = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", ())
    return any(isinstance(p, sharded) for p in module.parameters())
