"""Give somebody's ViT a merging trunk, and take it back.

Every ViT runs its blocks by one line, `for block in self.blocks: x = block(x)` or `x = self.blocks(x)`. A
patch swaps that container for one that holds the same blocks under the same names, but iterates, and is
called, as a single module that runs them all with merging. Nothing else changes: embedding, final norm,
heads, parameters, keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn

from .arrival import Arrival, watch_arrival
from .container import MergedBlocks
from .errors import PatchError
from .learned import load_learned, make_learned, save_learned
from .methods import Method, find_method
from .patch_grid import find_grid
from .prefix import count_prefix, read_prefix
from .reductions import Route
from .schedule import Schedule
from .seen import Grid, Watch
from .trunk import Mask, Protect, TrunkSettings, Unmerge
from .trunk_search import FoundTrunk, find_trunk
from .trunk_state import Trunk
from .verification import BlockCheck, takes_more_than_tokens


class PatchHandle:
    """A patched ViT: change its schedule, read its plans, give it back; a `with` block ends in that."""

    def __init__(self, owner: nn.Module, name: str, places: Sequence[tuple[nn.Module, str]]) -> None:
        self._owner = owner
        self._name = name
        self._places = tuple(places)
        blocks = places[0][0]._modules[places[0][1]]
        assert isinstance(blocks, MergedBlocks)
        self._trunk = blocks.trunk

    @classmethod
    def find(cls, model: nn.Module) -> PatchHandle:
        """The handle of a model that is already patched, for instance a deep copy or one loaded from a file.

        Raises:
            PatchError: no ViT in it is patched, or several are.
        """
        found: dict[Trunk, list[tuple[nn.Module, str]]] = {}
        for owner in model.modules():
            for name, child in owner._modules.items():
                if isinstance(child, MergedBlocks):
                    found.setdefault(child.trunk, []).append((owner, name))
        if len(found) != 1:
            raise PatchError(
                f"{type(model).__name__} has {len(found)} patched ViTs, one is needed to find its handle."
            )
        (places,) = found.values()
        return cls(*places[0], places)

    def __enter__(self) -> PatchHandle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        state = f"'{self.schedule}'" if self.is_patched else f"'{self.schedule}', removed"
        return f"PatchHandle({type(self._owner).__name__}.{self._name}, {state})"

    @property
    def is_patched(self) -> bool:
        """Whether the ViT still runs merged."""
        return self._trunk.is_active and any(self._find_blocks())

    def remove(self) -> None:
        """Give the ViT back as it was; a second call does nothing."""
        if self.is_patched:
            for owner, name, blocks in self._find_blocks():
                owner._modules[name] = blocks.release()
            self._trunk.is_active = False

    def _find_blocks(self) -> list[tuple[nn.Module, str, MergedBlocks]]:
        """Our containers, where they still are."""
        held = ((owner, name, owner._modules.get(name)) for owner, name in self._places)
        return [
            (owner, name, blocks)
            for owner, name, blocks in held
            if isinstance(blocks, MergedBlocks) and blocks.trunk is self._trunk
        ]

    @property
    def schedule(self) -> Schedule:
        """The schedule in force; set it from anything `Schedule.parse` reads.

        Raises:
            ScheduleError: unreadable, or for more layers than the ViT has; the old one stays in force.
            PatchError: the patch has been removed.
        """
        return self._trunk.settings.schedule

    @schedule.setter
    def schedule(self, value: Any) -> None:
        if not self.is_patched:
            raise PatchError("this patch has been removed: patch the ViT again to give it a schedule.")
        schedule = Schedule.parse(value)
        schedule.per_layer(self._trunk.depth)
        self._trunk.settings = replace(self._trunk.settings, schedule=schedule)

    @property
    def r(self) -> list[int]:
        """Tokens each layer is asked to remove; setting it, ToMe's way, sets the schedule."""
        return self.schedule.per_layer(self._trunk.depth)

    @r.setter
    def r(self, value: Any) -> None:
        self.schedule = value

    @property
    def num_prefix_tokens(self) -> int:
        """T, tokens in front of the patch tokens."""
        return self._trunk.settings.num_prefix_tokens

    @property
    def plan(self) -> Route | None:
        """From the tokens of the last forward to its last slots; None before the first forward.

        With several threads, the last to finish. Its `sizes()` are those of merging.

        Raises:
            PatchError: patched without `record=True`.
        """
        plans = self._recorded()
        return plans[-1] if plans else None

    @property
    def plans(self) -> tuple[Route, ...]:
        """One plan per block that merged in the last forward, each from the first tokens on.

        Raises:
            PatchError: patched without `record=True`.
        """
        plans = self._recorded() or ()
        return plans if any(p.num_slots < p.num_tokens for p in plans) else ()

    def masked(self, mask: Mask) -> AbstractContextManager[None]:
        """Spare these tokens in what this thread, or task, runs until the `with` block is left.

        Other threads that run the same model at the same time have their own masks, or none. Gradient
        checkpoints around the whole model compute it again outside of the block, and are refused.

        Args:
            mask: `[B, N]` bool, or `[B, N - T]` of the tokens after the prefix, see `run_trunk`.
        """
        return self._trunk.masked(mask)

    @property
    def learned(self) -> nn.Module | None:
        """The module of a method that learns: moved and cast with the model, but not in its state dict."""
        return self._trunk.learned

    def parameters(self) -> Iterator[nn.Parameter]:
        """What the method learns, for an optimizer; nothing for methods that learn nothing."""
        return iter(()) if self.learned is None else self.learned.parameters()

    def save_learned(self, path: Path | str) -> None:
        """Write what the method has learned as safetensors.

        Raises:
            PatchError: it learns nothing.
        """
        save_learned(self._trunk.settings.method.name, self.learned, Path(path))

    def load_learned(self, path: Path | str) -> None:
        """Read what `save_learned` wrote.

        Raises:
            PatchError: the method learns nothing.
            CheckpointError: the file is none, or of another method or model.
        """
        load_learned(self._trunk.settings.method.name, self.learned, Path(path))

    @contextmanager
    def watching(self, watch: Watch) -> Iterator[None]:
        """Let somebody look on while the ViT runs, until the `with` block is left; by all threads that do."""
        before = self._trunk.settings.watch
        self._trunk.settings = replace(self._trunk.settings, watch=watch)
        try:
            yield
        finally:
            self._trunk.settings = replace(self._trunk.settings, watch=before)

    def _recorded(self) -> tuple[Route, ...] | None:
        if not self._trunk.record:
            raise PatchError("this patch keeps no plans: use patch(..., record=True).")
        return self._trunk.plans


def patch(
    model: nn.Module,
    schedule: Any,
    method: str | Method = "tome",
    *,
    num_prefix_tokens: int | None = None,
    unmerge: Unmerge = True,
    proportional: bool = True,
    protect: Protect = "first",
    record: bool = False,
    mask: Mask | None = None,
    restore: str = "copy",
    grid: Grid | None = None,
) -> PatchHandle:
    """Make a ViT merge tokens between its blocks, until the handle is removed or its `with` block left.

    The ViT is `model` itself or a module inside it: whatever owns a ModuleList or Sequential of blocks that
    `shared_tmu.blocks` recognises. If several do, the one called `blocks` in `model` itself counts; else say
    which. Every block is tried out as it is, and again once it was changed. Blocks may be called all at once
    or one by one, by iteration, slice or index: each gives all tokens back, so intermediate maps are whole.
    While something merges, a call of a block that was found by name (`get_submodule`), or kept since before,
    is refused. Hooks on a block or its `attn` that would not run are refused at the forward; those on other
    parts run. Not supported: `torch.vmap`, and `fully_shard` of single blocks.

    Args:
        model: the ViT, or a model that contains exactly one.
        schedule: tokens to remove per layer, anything `Schedule.parse` reads.
        method: row of `METHODS`.
        num_prefix_tokens: tokens in front of the patch tokens (class, register, task), which never merge.
            None takes what the ViT says in an attribute of that name, as timm's do; else what is found by
            running it on noise up to its first block; else what published classes call such tokens.
        unmerge: restore the full sequence after the last block; False is merge-only, for heads that take any
            length, "sparse" its stand-in for heads that need the grid (see `run_trunk`).
        proportional: let a token that stands for s tokens count s times in attention.
        protect: "last" reproduces published TMU, which protects the wrong end (see `run_trunk`).
        record: keep the plans of the last forward in `handle.plan` and `handle.plans`.
        mask: further tokens to spare (see `run_trunk`) in every forward; for another mask in each, give a
            function of the tokens, or run under `handle.masked`.
        restore: row of `RESTORES`, how the grid is given back.
        grid: rows and columns of the patches, for methods that use it; None takes what the ViT says.

    Raises:
        PatchError: already patched, wrapped in `nn.DataParallel`, or no, or more than one, ViT found; blocks
            that compute something else or are given more than tokens; a prefix that cannot be known.
        ScheduleError: an unreadable schedule, or one for more layers than the ViT has.
        MethodError: no such method.
    """
    schedule, rule = Schedule.parse(schedule), find_method(method)
    _refuse_wrapped(model)
    found = find_trunk(model)
    count = read_prefix(found.owner) if num_prefix_tokens is None else num_prefix_tokens
    arrival = None
    if count is None or any(takes_more_than_tokens(block) for block in found.blocks):
        arrival = watch_arrival(model, found)
    _refuse_arguments(found, arrival)
    if count is None:
        count = count_prefix(found.owner, arrival)
    grid = grid or find_grid(found.owner)
    settings = TrunkSettings(schedule, rule, count, unmerge, proportional, protect, restore, grid)
    settings.schedule.per_layer(len(found.blocks))
    check = BlockCheck(found.blocks, None if arrival is None else arrival.shape)
    learned = None if rule.learn is None else make_learned(rule.learn, found.blocks)
    trunk = Trunk(settings, len(found.blocks), record, check, mask, learned)
    for (owner, name), container, numbers in zip(found.places, found.containers, found.numbers, strict=True):
        owner._modules[name] = MergedBlocks(container, trunk, numbers)
    return PatchHandle(found.owner, found.name, found.places)


def _refuse_wrapped(model: nn.Module) -> None:
    """Models that are patched already, or that copy themselves."""
    for module in model.modules():
        if isinstance(module, MergedBlocks):
            raise PatchError(
                f"this ViT is already patched with '{module.settings.schedule}'. "
                "Leave that `with` block, or call handle.remove(), first."
            )
        if isinstance(module, nn.DataParallel):
            raise PatchError(
                "nn.DataParallel copies its model at every call: patch inside it, patch(model.module, ...)."
            )


def _refuse_arguments(found: FoundTrunk, arrival: Arrival | None) -> None:
    if arrival is not None and arrival.others:
        raise PatchError(
            f"{type(found.owner).__name__} gives its blocks {', '.join(arrival.others)} besides tokens, made "
            "for tokens that have not merged, which merging would ignore: this model cannot be patched."
        )
