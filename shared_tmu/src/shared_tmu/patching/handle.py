"""Patch a ViT so that its blocks run with merging, and remove the patch again.

Every ViT runs its blocks by one line, `for block in self.blocks: x = block(x)` or `x = self.blocks(x)`. A
patch replaces that container by one that holds the same blocks under the same names, but runs them with
merging when it is called or iterated. Nothing else changes: embedding, final norm, heads, parameters, keys.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn

from ..errors import PatchError
from ..method_parts.held import HeldPlans, Holding, read_names
from ..method_parts.learned import LearnedPart, make_learned
from ..method_parts.protection import WEIGHT
from ..method_parts.read_masks import ReadMask
from ..method_parts.reductions import Route
from ..method_parts.seen import Grid, Watch
from ..methods import Method, find_method
from ..schedule import Schedule
from ..trunk import Mask, Protect, TrunkSettings, Unmerge
from .checks import refuse_unplaced, refuse_wrapped
from .container import MergedBlocks
from .grid import find_grid_for
from .prefix import find_prefix
from .search import find_trunk
from .state import Trunk


class PatchHandle:
    """A patched ViT: change its schedule, read its plans, remove the patch (as the end of a `with` block
    does).
    """

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
                f"{type(model).__name__} has {len(found)} patched ViTs, but a handle belongs to exactly "
                "one: pass the ViT itself."
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
        """Whether the patch is still in place."""
        return self._trunk.is_active and any(self._find_blocks())

    def remove(self) -> None:
        """Remove the patch: the ViT is as it was before. A second call does nothing."""
        if self.is_patched:
            for owner, name, blocks in self._find_blocks():
                owner._modules[name] = blocks.release()
            self._trunk.is_active = False

    def _find_blocks(self) -> list[tuple[nn.Module, str, MergedBlocks]]:
        """Our containers that are still in place."""
        held = ((owner, name, owner._modules.get(name)) for owner, name in self._places)
        return [
            (owner, name, blocks)
            for owner, name, blocks in held
            if isinstance(blocks, MergedBlocks) and blocks.trunk is self._trunk
        ]

    @property
    def schedule(self) -> Schedule:
        """The current schedule; set it to anything that `Schedule.parse` reads.

        Raises:
            ScheduleError: it cannot be parsed, or has more layers than the ViT; the previous schedule is
                kept.
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
    def settings(self) -> TrunkSettings:
        """The current settings, complete with what was found in the ViT."""
        return self._trunk.settings

    @property
    def mask(self) -> Mask | None:
        """The tokens that are protected in every forward pass, on the device of the ViT; None for none."""
        return self._trunk.mask

    @property
    def num_prefix_tokens(self) -> int:
        """T, tokens before the patch tokens."""
        return self._trunk.settings.num_prefix_tokens

    @property
    def plan(self) -> Route | None:
        """The plan of the last forward, from its tokens to its last slots; None before the first forward.

        With several threads, that of the last one to finish. Its `sizes()` are the sizes used in merging.

        Raises:
            PatchError: patched without `record=True`.
        """
        self._trunk.require_recorded()
        return self._trunk.plan

    @property
    def plans(self) -> tuple[Route, ...]:
        """One plan per block that merged in the last forward, each from the first tokens on; see `plan`."""
        return tuple(self.plans_by_block.values())

    @property
    def plans_by_block(self) -> dict[int, Route]:
        """`plans` by the number of the block, from 0; a block that removed no token is not among them."""
        self._trunk.require_recorded()
        plans = self._trunk.plans
        return dict(plans) if any(p.num_slots < p.num_tokens for p in plans.values()) else {}

    def masked(self, mask: Mask) -> AbstractContextManager[None]:
        """Protect these tokens in every forward of this thread (or async task) inside the `with` block.

        Other threads that run the same model at the same time have their own masks, or none. Gradient
        checkpointing of the whole model would recompute it outside of the block, and is refused.

        Args:
            mask: `[B, N]` bool, or `[B, N - T]` of the tokens after the prefix, see `run_trunk`.

        Raises:
            PatchError: the patch has been removed.
        """
        return self._trunk.masked(mask)

    def holding(self, plans: HeldPlans, names: Sequence[Hashable | None]) -> AbstractContextManager[None]:
        """Merge the tokens that earlier passes merged, in every forward of this thread in the `with` block.

        Args:
            plans: what merged under each name; new names are added.
            names: one per image of the batch, such as numbers of tracks; None for an image on its own.

        A mask acts where a name is new; plans that are held stay as they are.

        Raises:
            PatchError: the plans were made with another schedule or method, a name cannot be used, or the
                patch has been removed.
        """
        return self._trunk.holding(Holding(plans, read_names(names)))

    @property
    def learned(self) -> nn.Module | None:
        """The module of a method that learns: moved and cast with the model, but not in its state dict."""
        return self._trunk.learned

    def parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that the method learns, for an optimizer; empty for methods that learn nothing."""
        return iter(()) if self.learned is None else self.learned.parameters()

    def save_learned(self, path: Path | str, **facts: str) -> None:
        """Write the method's trained parts as safetensors, with a mark of the weights to which they belong,
        and further `facts`, see `LearnedFacts`.

        Raises:
            PatchError: the method learns nothing.
        """
        self._learned_part.save(Path(path), facts)

    def load_learned(self, path: Path | str) -> None:
        """Read a file of `save_learned`.

        Raises:
            PatchError: the method learns nothing.
            CheckpointError: it is not such a file, or belongs to another method or other weights.
        """
        self._learned_part.load(Path(path))

    @property
    def _learned_part(self) -> LearnedPart:
        containers = [owner._modules[name] for owner, name in self._places]
        held = [block for one in containers if one is not None for block in one._modules.values()]
        blocks = list({id(block): block for block in held if block is not None}.values())
        return LearnedPart(self._trunk.settings.method.name, self.learned, blocks)

    def watching(self, watch: Watch) -> AbstractContextManager[None]:
        """Report every run of the ViT, in any thread, to an observer inside the `with` block."""
        return self._trunk.watching(watch)


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
    certain: float = WEIGHT,
) -> PatchHandle:
    """Make a ViT merge tokens between its blocks, until the handle is removed or its `with` block ends.

    The ViT is `model` itself or a module inside it: the owner of a ModuleList or Sequential of blocks that
    `shared_tmu.blocks` recognises. If there are several, the list named `blocks` in `model` itself is used;
    otherwise an error asks which one. Every block is run once to check what it computes, and again after a
    change. Blocks may be called all together or one by one, by iteration, slice or index: each returns all
    tokens, so intermediate feature maps are complete. While the schedule merges anything, a call of a block
    that was found by name (`get_submodule`), or kept since before the patch, is refused. Hooks on a block or
    its `attn` that would not run raise an error in the forward; those on other parts run. Not supported:
    `torch.vmap`, and `fully_shard` of single blocks.

    Args:
        model: the ViT, or a model that contains exactly one.
        schedule: tokens to remove per layer, anything `Schedule.parse` reads.
        method: row of `METHODS`.
        num_prefix_tokens: tokens before the patch tokens (class, register, task), which never merge. None: as
            timm's attribute of that name, else a run on noise, else attributes of published classes say.
        unmerge: restore the full sequence after the last block; False is merge-only, for heads that take any
            length (with thresholds one image per batch), "sparse" its variant for heads that need the grid.
        proportional: use proportional attention: a token that stands for s tokens counts s times.
        protect: "last" reproduces published TMU, which protects the last tokens (see `run_trunk`).
        record: keep the plans of the last forward in `handle.plan` and `handle.plans`.
        mask: further tokens to protect in every forward (see `run_trunk`); `handle.masked` masks single ones.
        restore: row of `RESTORES`, how the grid is restored.
        grid: rows and columns of every picture's patches, for methods that use it; None reads the ViT.
        certain: weight in float masks of tokens that surely show the subject (see `run_trunk`).

    Raises:
        PatchError: the model is already patched or wrapped in `nn.DataParallel`; no ViT, or more than one,
            was found; blocks compute something else or get more than tokens; or the prefix is unknown.
        ScheduleError, MethodError: the schedule or the method cannot be read, or do not fit.
    """
    refuse_wrapped(model)
    schedule, rule, found = Schedule.parse(schedule), find_method(method), find_trunk(model)
    count, check = find_prefix(model, found, num_prefix_tokens)
    grid = grid or find_grid_for(rule, found.owner)
    settings = TrunkSettings(schedule, rule, count, unmerge, proportional, protect, restore, grid, certain)
    settings.schedule.per_layer(len(found.blocks))
    refuse_unplaced(settings, check, found, mask)
    learned = None if rule.learn is None else make_learned(rule.learn, found.blocks)
    placed = mask.placed(found.blocks) if isinstance(mask, ReadMask) else mask
    trunk = Trunk(settings, len(found.blocks), record, check, placed, learned)
    for (owner, name), container, numbers in zip(found.places, found.containers, found.numbers, strict=True):
        owner._modules[name] = MergedBlocks(container, trunk, numbers)
    return PatchHandle(found.owner, found.name, found.places)
