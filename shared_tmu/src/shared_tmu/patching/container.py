"""The container that replaces the ModuleList or Sequential of a patched ViT's blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from ..blocks.guard import guard_blocks, release_blocks
from ..errors import PatchError
from ..trunk import TrunkSettings, run_blocks
from .state import Trunk
from .stepping import SteppedRun, accept_positions, refuse_stand_ins, unwrap_step

Container = nn.ModuleList | nn.Sequential


class MergedBlocks(nn.ModuleList):
    """The blocks of a patched ViT: saved, counted and called as before, run with merging.

    A call runs all of them. While the schedule merges anything, iteration, slices, indices and `children`
    return steps (`stepping.BlockStep`), which take and return all tokens; otherwise they return the blocks
    themselves. Modules found by name (`named_modules`, `get_submodule`) are always the blocks themselves,
    guarded: see `shared_tmu.blocks.guard`.

    Args:
        original: the container that it replaces.
        trunk: the state that it shares with other containers of the same ViT.
        numbers: numbers of its blocks in the trunk; None for placeholders.
    """

    def __init__(self, original: Container, trunk: Trunk, numbers: Sequence[int | None]) -> None:
        super().__init__()
        self.__dict__.update(original.__dict__)  # same blocks, hooks and mode
        self.trunk = trunk
        self._numbers = tuple(numbers)
        self._last = max((number for number in numbers if number is not None), default=0)
        self._original = (original,)  # in a tuple, because a module itself would be registered as a submodule
        self._guard()

    def _guard(self) -> None:
        numbered = zip(self._numbers, self._modules.values(), strict=False)
        guard_blocks(((n, b) for n, b in numbered if n is not None and b is not None), self.trunk)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._guard()

    @property
    def settings(self) -> TrunkSettings:
        """The settings for merging."""
        return self.trunk.settings

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Run all blocks on tokens `[B, N, C]`, with merging.

        Raises:
            PatchError: the model gives its blocks more than tokens.
        """
        trunk, blocks = self.trunk, list(self._modules.values())
        if not trunk.merges or self._numbers != tuple(range(trunk.depth)):
            for step in self:
                x = step(x, *args, **kwargs)
            return x
        refuse_stand_ins(x)
        if accept_positions(args, kwargs, trunk.check.defaults[0], trunk.check.given):
            raise PatchError(
                "this ViT calls the container of its blocks with positions besides tokens: only blocks that "
                "are called one by one can be given these."
            )
        if torch.compiler.is_compiling():
            trunk.is_traced = True
        else:
            for number, block in enumerate(blocks):
                trunk.verify(number, block)
        for number, block in enumerate(blocks):
            trunk.check.heed_mode(number, block)
        tokens, mask, held = trunk.turn(x), trunk.find_mask(), trunk.find_held()
        learned = trunk.learned
        out, plans = run_blocks(blocks, tokens, trunk.settings, mask=mask, learned=learned, held=held)
        trunk.refuse_padding(plans)
        trunk.keep(plans, tokens)
        return trunk.turn(out)

    def train(self, mode: bool = True) -> Self:
        """Put the blocks, and the modules that follow their mode, into training mode."""
        for part in self._followers:
            part.train(mode)
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast the blocks, and the modules that are moved with them."""
        for part in self._followers:
            part._apply(fn)  # type: ignore[no-untyped-call]
        moved: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved

    @property
    def _followers(self) -> tuple[nn.Module, ...]:
        """The module of a method that learns and of a mask that is read; only the first container of a trunk
        moves them.
        """
        return self.trunk.followers if 0 in self._numbers else ()

    def __iter__(self) -> Iterator[Any]:
        if not self._gives_steps:
            return iter(list(self._modules.values()))
        run = SteppedRun(self.trunk, self._last)
        return iter([self._step(run, i, block) for i, block in enumerate(self._modules.values())])

    def children(self) -> Iterator[Any]:
        """The same as iteration."""
        return iter(self)

    def __getitem__(self, index: Any) -> Any:
        original = self.unmerged()
        if not self._gives_steps:
            return original[index]
        if isinstance(index, slice):
            return MergedBlocks(cast(Container, original[index]), self.trunk, self._numbers[index])
        return self._step(SteppedRun(self.trunk, self.trunk.depth - 1), index, original[index])

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, unwrap_step(value))

    def __repr__(self) -> str:
        return f"MergedBlocks({str(self.settings.schedule)!r}, {self.unmerged()!r})"

    @property
    def _gives_steps(self) -> bool:
        return self.trunk.merges or self.trunk.record

    def _step(self, run: SteppedRun, index: int, block: Any) -> Any:
        if len(self._numbers) != len(self._modules):
            raise PatchError(
                f"this ViT was patched with {len(self._numbers)} blocks and has {len(self._modules)} now: "
                "remove the patch before adding or removing blocks."
            )
        number = self._numbers[index]
        return block if number is None else run.step(number, block)

    def unmerged(self) -> Container:
        """The original container, in the mode and with the blocks of this one."""
        original = self._original[0]
        original._modules, original.training = self._modules, self.training
        return original

    def release(self) -> Container:
        """`unmerged`, with all guards removed from its blocks."""
        release_blocks(block for block in self._modules.values() if block is not None)
        return self.unmerged()
