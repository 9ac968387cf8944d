"""Detects calls of single blocks of a patched ViT, or of their attention, that bypass its container.

Code that finds a block by name, kept a reference to it from before the patch, or runs the parts of blocks
itself, would do so without merging and get a wrong result without any message. A hook on every block and its
attention distinguishes such calls from those of a pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import PatchError
from .parts import Block, is_sequence_first, parts_of, replaced_modules
from .positions import NOTHING, Given

_running: ContextVar[nn.Module | None] = ContextVar("block that a pass is running", default=None)


class Guarded(Protocol):
    """The interface of the trunk that a guard uses."""

    @property
    def merges(self) -> bool:
        """Whether any block must run differently from its own forward."""

    @property
    def is_traced(self) -> bool:
        """Whether torch.compile has traced it: compiled code runs blocks without calling this guard."""


class BlockGuard:
    """A forward pre-hook that refuses calls of a block from outside a pass.

    A single block that was copied or loaded from a file is not part of the ViT: its guard allows all calls,
    until a container that is copied as a whole installs guards of its own.

    Args:
        trunk: trunk of the block; None allows all calls.
        number: number of the block.
    """

    refusal = (
        "block {} of a ViT that merges was called directly (it was found by name, or kept from before the "
        "patch) and would run without merging: iterate over, slice or index the list of blocks "
        "(vit.blocks[i]), or use the schedule 'off'."
    )

    def __init__(self, trunk: Guarded | None, number: int) -> None:
        self.trunk = trunk
        self._number = number

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Called by torch before the block runs.

        Raises:
            PatchError: the block was called directly while the trunk merges.
        """
        if torch.compiler.is_compiling() or self._is_in_pass(module):
            return
        if self.trunk is not None and self.trunk.merges and not self.trunk.is_traced:
            raise PatchError(self.refusal.format(self._number))

    def _is_in_pass(self, module: nn.Module) -> bool:
        return _running.get() is module

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (None, self._number)


class AttentionGuard(BlockGuard):
    """The same for the attention of a block, which only the block may call."""

    refusal = (
        "attention of block {} of a ViT that merges was called by the model itself, and would run without "
        "merging: models that run the parts of their blocks (x + block.attn(block.norm1(x))), or a block's "
        "forward instead of the block, cannot be patched. Call the blocks, or use the schedule 'off'."
    )

    def _is_in_pass(self, module: nn.Module) -> bool:
        block = _running.get()
        return is_in_backward() or (block is not None and module in block._modules.values())


def is_in_backward() -> bool:
    """Whether this thread is currently in a backward pass, which may run modules again (checkpoints)."""
    task: int = torch._C._current_graph_task_id()
    return task != -1


def guard_blocks(blocks: Iterable[tuple[int, nn.Module]], trunk: Guarded) -> None:
    """Install guards on blocks, given with their numbers; other threads may be running blocks that have
    one."""
    for number, block in blocks:
        for module, guard in zip(_list_guarded(block), (BlockGuard, AttentionGuard), strict=False):
            if not any(isinstance(hook, BlockGuard) and hook.trunk is trunk for hook in _hooks(module)):
                _release(module)
                module.register_forward_pre_hook(guard(trunk, number), prepend=True)


def release_blocks(blocks: Iterable[nn.Module]) -> None:
    """Remove the guards of blocks."""
    for block in blocks:
        for module in _list_guarded(block):
            _release(module)


def _list_guarded(block: nn.Module) -> list[nn.Module]:
    """The block, and its attention if it has any."""
    parts = parts_of(block)
    return list(replaced_modules(parts).values()) if hasattr(parts, "attn") else [block]


def _release(module: nn.Module) -> None:
    for key, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, BlockGuard):
            del module._forward_pre_hooks[key]


def call_whole(block: Block, x: Tensor, given: Given = NOTHING) -> Tensor:
    """Call a block, or the block behind its parts, from the pass that it belongs to: `[B, N, C]` to the same.

    Args:
        block: the block.
        x: tokens.
        given: positions that the model gives it.
    """
    module, is_turned = replaced_modules(parts_of(block))[""], is_sequence_first(block)
    x = x.transpose(0, 1) if is_turned else x
    if torch.compiler.is_compiling():
        out: Tensor = module(x, **given)
    else:
        token = _running.set(module)
        try:
            out = module(x, **given)
        finally:
            _running.reset(token)
    return out.transpose(0, 1) if is_turned else out


def has_hooks(module: nn.Module) -> bool:
    """Whether a module has hooks other than guards."""
    return bool(
        module._forward_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or (module._forward_pre_hooks and not all(isinstance(hook, BlockGuard) for hook in _hooks(module)))
    )


def _hooks(block: nn.Module) -> list[Any]:
    return list(block._forward_pre_hooks.values())
