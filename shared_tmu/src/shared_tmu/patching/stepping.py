"""Runs the blocks of a patched ViT one by one: each takes and returns all tokens, and records what has
merged.

Code that iterates over the blocks sees the full grid of tokens between them, for intermediate feature maps,
added prompts or gradient checkpoints. The record of what has merged so far is attached to the tokens that a
step returned, so it is not shared between threads, between two sequences run side by side, or with a run that
was stopped before its end.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.fx
from torch import Tensor, nn
from torch.utils.weak import TensorWeakRef

from ..blocks.arguments import Defaults, read_given
from ..blocks.guard import is_in_backward
from ..blocks.positions import NOTHING, Given
from ..errors import PatchError
from ..trunk import TrunkPass
from .state import Trunk


def accept_positions(
    args: tuple[Any, ...], kwargs: dict[str, Any], defaults: Defaults, known: Given
) -> Given:
    """The positions that a model gives its blocks besides tokens.

    Args:
        args: positional arguments after the tokens.
        kwargs: named arguments.
        defaults: defaults of the block.
        known: positions that the blocks were tested with.

    Raises:
        PatchError: another argument is neither None nor the block's default.
    """
    if not args and not kwargs:
        return NOTHING
    given, others = read_given(args, kwargs, defaults)
    if names := [*others, *(name for name in given if name not in known)]:
        raise PatchError(
            f"this ViT calls its blocks with {', '.join(names)} besides tokens, which merging would ignore: "
            "it cannot run while it merges."
        )
    return given


def refuse_stand_ins(x: Any) -> None:
    """Refuse tokens without values to match, such as tracing proxies: which tokens merge depends on the
    values.

    Raises:
        PatchError: the model is traced by `torch.fx`, or mapped by `torch.vmap`.
    """
    if torch.compiler.is_compiling():
        return
    if isinstance(x, torch.fx.Proxy):
        raise PatchError(
            "torch.fx (create_feature_extractor, symbolic_trace) cannot trace blocks that merge: iterate "
            "over the blocks or use forward_intermediates for maps, torch.export or torch.compile for "
            "graphs, or trace with the schedule 'off'."
        )
    if torch._C._functorch.is_batchedtensor(x):
        raise PatchError(
            "torch.vmap cannot map over a ViT that merges: give it a batch [B, N, C] instead; each image "
            "merges separately."
        )


class _Entry(NamedTuple):
    number: int
    tokens: TensorWeakRef
    before: TrunkPass


class SteppedRun:
    """One iteration over the blocks of a trunk.

    Args:
        trunk: the trunk.
        last: number of the last block.
    """

    def __init__(self, trunk: Trunk, last: int) -> None:
        self.trunk = trunk
        self.last = last
        self._latest: dict[int, list[tuple[int, TrunkPass]]] = {}  # the last two, by thread
        self._entries: list[_Entry] = []

    def step(self, number: int, block: nn.Module) -> BlockStep | TracedStep:
        """A block as a step of this run."""
        call = partial(self.call, number, block)
        return TracedStep(block, call) if torch.compiler.is_compiling() else BlockStep(block, call)

    def call(self, number: int, block: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Run block `number` on tokens of the full grid, `[B, N, C]` to the same (or `[N, B, C]`, as the
        block takes them); the last one ends the pass.

        Raises:
            PatchError: it is unknown what has merged in these tokens, or the block is given more than tokens.
        """
        trunk = self.trunk
        if not trunk.merges:
            if number == self.last:
                trunk.keep({}, trunk.turn(x))
            return block(x, *args, **kwargs)
        refuse_stand_ins(x)
        given = accept_positions(args, kwargs, trunk.check.defaults[number], trunk.check.given)
        is_compiling = torch.compiler.is_compiling()
        if is_compiling:
            trunk.is_traced = True
        after = copy.copy(self._find_before(number) if is_compiling else self._find(number, block, x))
        trunk.check.heed_mode(number, block)
        tokens = trunk.turn(x)
        slots = after.step(number, block, after.reduce(tokens), given)
        is_end = number == trunk.depth - 1
        if is_end:
            trunk.refuse_padding(after.plans_by_block)
        out = trunk.turn(after.leave(slots) if is_end else after.restore(slots))
        thread = 0 if is_compiling else threading.get_ident()
        self._latest[thread] = [*self._latest.get(thread, [])[-1:], (number, after)]
        if number == self.last and (is_compiling or not is_in_backward()):
            trunk.keep(after.plans_by_block, tokens)
        if not is_compiling:
            trunk.passes[out] = after
        return out

    def _find(self, number: int, block: nn.Module, x: Tensor) -> TrunkPass:
        """The pass that these tokens belong to, as it was before this block."""
        self.trunk.verify(number, block)
        before = self._find_recomputed(number, x) if is_in_backward() else None
        if before is None and number > 0:
            before = self.trunk.passes.get(x)  # type: ignore[no-untyped-call]
        if before is None:
            before = self._find_before(number)
        self._entries = [entry for entry in self._entries if entry.tokens() is not None]
        self._entries.append(_Entry(number, TensorWeakRef(x), before))
        return before

    def _find_recomputed(self, number: int, x: Tensor) -> TrunkPass | None:
        """Gradient checkpointing runs a step again, on the same memory."""
        for entry in self._entries:
            tokens = entry.tokens() if entry.number == number else None
            if tokens is not None and _share_memory(tokens, x):
                return entry.before
        return None

    def _find_before(self, number: int) -> TrunkPass:
        """The only pass that has reached the previous block, for tokens that were changed in between."""
        thread = 0 if torch.compiler.is_compiling() else threading.get_ident()
        latest = self._latest.get(thread, [])
        if number == 0 or (self.trunk.begins(number) and not latest):
            return self.trunk.begin()
        if not latest:
            raise PatchError(
                f"block {number} was given tokens for which it is unknown what has merged in them: run the "
                "blocks in one iteration over all of them, or give it the output of the previous block."
            )
        is_alone = len(latest) < 2 or latest[-2][0] != latest[-1][0]
        if latest[-1][0] >= number or not is_alone:
            raise PatchError(
                f"several sequences run through this ViT at the same time, and block {number} was given "
                "tokens that were changed between blocks, so it is unknown to which sequence they belong: "
                "run one sequence after the other."
            )
        return latest[-1][1]


def _share_memory(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.shape == b.shape and a.data_ptr() == b.data_ptr())


class BlockStep:
    """A block of a patched ViT in one run: it behaves like the block in everything except its call.

    Attributes, hooks, parameters, methods and class are the block's; copying or saving a step copies or saves
    the block.

    Args:
        block: the block.
        call: function that a call runs.
    """

    __slots__ = ("__weakref__", "_tmu_block", "_tmu_call")

    def __init__(self, block: nn.Module, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_tmu_block", block)
        object.__setattr__(self, "_tmu_call", call)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the step does instead of the block."""
        return self._tmu_call(*args, **kwargs)

    forward = __call__

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._tmu_block)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tmu_block, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._tmu_block, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._tmu_block, name)

    def __dir__(self) -> list[str]:
        return dir(self._tmu_block)

    def __repr__(self) -> str:
        return repr(self._tmu_block)

    def __eq__(self, other: object) -> bool:
        return self._tmu_block is (unwrap_step(other))

    def __hash__(self) -> int:
        return hash(self._tmu_block)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return unwrap_step, (self._tmu_block,)


class TracedStep:
    """A step while a model is compiled: a call, and read access to the block's attributes.

    Dynamo does not follow what makes a `BlockStep` an instance of the block's class.
    """

    def __init__(self, block: nn.Module, call: Callable[..., Any]) -> None:
        self._tmu_block = block
        self._tmu_call = call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the step does instead of the block."""
        return self._tmu_call(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tmu_block, name)


def unwrap_step(module: Any) -> Any:
    """The block behind a step; anything else as it is."""
    return module._tmu_block if type(module) is BlockStep else module
