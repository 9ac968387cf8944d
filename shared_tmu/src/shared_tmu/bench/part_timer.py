"""Measures the time of a run by part; functions are wrapped only during the measurement."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from shared_tmu.blocks.halves import find_misfit
from shared_tmu.blocks.parts import parts_of, replaced_modules
from shared_tmu.method_parts.seen import Watch
from shared_tmu.patching.container import MergedBlocks
from shared_tmu.programs.timing import synchronize

BLOCK_PARTS = {"norm1": "attention", "attn": "attention", "norm2": "MLP", "mlp": "MLP"}
"""Parts of a block that the trunk calls as a whole."""


def _part(block: nn.Module, name: str) -> nn.Module:
    parts = parts_of(block)
    found: nn.Module = replaced_modules(parts)[".attn"] if name == "attn" else getattr(parts, name)
    return found


class PartClock:
    """Adds up time by part; the time of a part inside another one is counted for the inner part only.

    Args:
        device: synchronised wherever a part begins or ends, so that time is counted for the right part. On a
            GPU this removes the overlap of CPU and GPU work, so measure the total time also without parts.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of a `with` block for a part."""
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time counted for a part."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return timed

    @contextmanager
    def watching(self, vit: nn.Module, modules: Iterable[tuple[str, nn.Module]]) -> Iterator[None]:
        """Time the parts of a model, patched or not, inside the `with` block.

        A merged trunk reports its parts to a `Watch`; the forward of other modules is replaced meanwhile.

        Args:
            vit: the backbone; its time that no part covers (embedding, residuals, norm) is `rest of the ViT`.
            modules: other modules, by part.
        """
        inside = [
            (name, _part(block, part))
            for block in vit.modules()
            if find_misfit(block) is None
            for part, name in BLOCK_PARTS.items()
        ]
        with ExitStack() as undo:
            for name, module in (("rest of the ViT", vit), *modules, *inside):
                undo.enter_context(_replaced(module, "forward", self.wrap(name, module.forward)))
            for blocks in vit.modules():
                if isinstance(blocks, MergedBlocks):
                    settings = replace(blocks.settings, watch=_Timing(self))
                    undo.enter_context(_replaced(blocks.trunk, "settings", settings))
                    # the timing wrappers look like replaced functions: blocks must not be checked again
                    undo.enter_context(_replaced(blocks.trunk.check, "again", lambda *_: None))
            yield

    def _turn(self) -> None:
        """Add the time since the last change of part to the part that was running, if any."""
        synchronize(self.device)
        now = time.perf_counter()
        if self._open:
            name = self._open[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


class _Timing(Watch):
    """Reports the parts of a trunk to a clock."""

    def __init__(self, clock: PartClock) -> None:
        self.clock = clock

    def call(self, part: str, function: Any, *arguments: Any) -> Any:
        """Run a part."""
        with self.clock.part(part):
            return function(*arguments)


_MISSING = object()


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace `owner.name` by `value` inside the `with` block, then restore it exactly."""
    before = vars(owner).get(name, _MISSING)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is _MISSING:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
