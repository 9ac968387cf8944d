"""A block of a patched ViT that is called by itself, past its container, is noticed.

Whoever finds a block by name, or has kept it since before the patch, would run it without merging and get an
answer that is wrong without a word. A hook on every block tells such calls from those of a pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .errors import PatchError

_running: ContextVar[nn.Module | None] = ContextVar("block that a pass is running", default=None)


class Guarded(Protocol):
    """What a guard asks of the trunk that its block is part of."""

    @property
    def merges(self) -> bool:
        """Whether blocks are to be run in any way but their own."""

    @property
    def is_traced(self) -> bool:
        """Whether torch.compile has traced it: compiled code runs blocks without saying so."""


class BlockGuard:
    """A forward pre-hook that refuses calls of a block which no pass has made.

    A copy or a file of a block by itself is not part of the ViT: there the guard lets everything pass, until
    a container that is copied as a whole puts guards of its own in place.

    Args:
        trunk: what the block is part of; None lets everything pass.
        number: of the block.
    """

    def __init__(self, trunk: Guarded | None, number: int) -> None:
        self.trunk = trunk
        self._number = number

    def __call__(self, block: nn.Module, args: tuple[Any, ...]) -> None:
        """Called by torch before the block runs.

        Raises:
            PatchError: the block was called by itself, and something merges.
        """
        if torch.compiler.is_compiling() or _running.get() is block:
            return
        if self.trunk is not None and self.trunk.merges and not self.trunk.is_traced:
            raise PatchError(
                f"block {self._number} of a ViT that merges was called by itself, found by name or kept "
                "since before the patch, and would run without merging: iterate over, slice or index the "
                "list of blocks (vit.blocks[i]), or use the schedule 'off'."
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return BlockGuard, (None, self._number)


def guard_blocks(blocks: Iterable[tuple[int, nn.Module]], trunk: Guarded) -> None:
    """Put guards on blocks, given with their numbers; other threads may be running those that have theirs."""
    for number, block in blocks:
        if not any(isinstance(hook, BlockGuard) and hook.trunk is trunk for hook in _hooks(block)):
            release_blocks([block])
            block.register_forward_pre_hook(BlockGuard(trunk, number), prepend=True)


def release_blocks(blocks: Iterable[nn.Module]) -> None:
    """Take guards off blocks."""
    for block in blocks:
        for key, hook in list(block._forward_pre_hooks.items()):
            if isinstance(hook, BlockGuard):
                del block._forward_pre_hooks[key]


def call_whole(block: nn.Module, x: Tensor) -> Tensor:
    """Call a block, as the pass that it belongs to."""
    if torch.compiler.is_compiling():
        out: Tensor = block(x)
        return out
    token = _running.set(block)
    try:
        out = block(x)
        return out
    finally:
        _running.reset(token)


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody has hooks on a module; guards do not count."""
    return bool(
        module._forward_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or (module._forward_pre_hooks and not all(isinstance(hook, BlockGuard) for hook in _hooks(module)))
    )


def _hooks(block: nn.Module) -> list[Any]:
    return list(block._forward_pre_hooks.values())
