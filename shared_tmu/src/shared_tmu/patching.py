"""Give somebody's ViT a merging trunk, and take it back.

Every ViT runs its blocks by one line, `for block in self.blocks: x = block(x)` or `x = self.blocks(x)`. A
patch swaps that container for one that holds the same blocks under the same names, but iterates, and is
called, as a single module that runs them all with merging. Nothing else changes: embedding, final norm,
heads, parameters, keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from .blocks import find_misfit, verify_block
from .errors import PatchError
from .methods import Method, find_method
from .plan import MergePlan
from .schedule import Schedule
from .trunk import Protect, TrunkSettings, Unmerge, run_blocks


class MergedBlocks(nn.ModuleList):
    """The blocks of a patched ViT: indexed, counted and saved as before, run as one merged trunk.

    Attributes:
        settings: how to merge; replaced as a whole, read once per forward.
        record: whether to keep the plans of the last forward.
        plans: those plans, None before the first forward.
    """

    def __init__(
        self, original: nn.ModuleList | nn.Sequential, settings: TrunkSettings, record: bool
    ) -> None:
        super().__init__()
        self.__dict__.update(original.__dict__)  # same blocks, hooks and mode
        self.settings = settings
        self.record = record
        self.plans: tuple[MergePlan, ...] | None = None
        self._original = (original,)  # in a tuple, or it would be registered as a submodule

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Run all blocks on tokens `[B, N, C]`, with merging.

        Raises:
            PatchError: the model gives its blocks more than tokens.
        """
        if any(arg is not None for arg in (*args, *kwargs.values())):
            raise PatchError("this ViT calls its blocks with more than tokens, which merging would ignore.")
        tokens = x.shape
        x, plans = run_blocks(list(self._modules.values()), x, self.settings)
        if self.record:
            self.plans = plans or (MergePlan.identity(tokens[0], tokens[1], x.device),)
        return x

    def __iter__(self) -> Iterator[nn.Module]:
        return iter((self,))

    def __getitem__(self, index: Any) -> Any:
        return self.unmerged()[index]

    def __repr__(self) -> str:
        return f"MergedBlocks({str(self.settings.schedule)!r}, {self.unmerged()!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "plans": None}  # plans belong to a forward, not to a copy or a file

    def unmerged(self) -> nn.ModuleList | nn.Sequential:
        """The container that was there before, in the mode and with the blocks of this one."""
        original = self._original[0]
        original._modules, original.training = self._modules, self.training
        return original


class PatchHandle:
    """A patched ViT: change its schedule, read its plans, give it back; a `with` block ends in that."""

    def __init__(self, owner: nn.Module, name: str) -> None:
        self._owner = owner
        self._name = name
        blocks = owner._modules[name]
        assert isinstance(blocks, MergedBlocks)
        self._blocks = blocks

    @classmethod
    def find(cls, model: nn.Module) -> PatchHandle:
        """The handle of a model that is already patched, for instance a deep copy or one loaded from a file.

        Raises:
            PatchError: no ViT in it is patched, or several are.
        """
        found = [
            (owner, name)
            for owner in model.modules()
            for name, child in owner._modules.items()
            if isinstance(child, MergedBlocks)
        ]
        if len(found) != 1:
            raise PatchError(
                f"{type(model).__name__} has {len(found)} patched ViTs, one is needed to find its handle."
            )
        return cls(*found[0])

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
        return self._owner._modules.get(self._name) is self._blocks

    def remove(self) -> None:
        """Give the ViT back as it was; a second call does nothing."""
        if self.is_patched:
            self._owner._modules[self._name] = self._blocks.unmerged()

    @property
    def schedule(self) -> Schedule:
        """The schedule in force; set it from anything `Schedule.parse` reads.

        Raises:
            ScheduleError: unreadable, or for more layers than the ViT has; the old one stays in force.
            PatchError: the patch has been removed.
        """
        return self._blocks.settings.schedule

    @schedule.setter
    def schedule(self, value: Any) -> None:
        if not self.is_patched:
            raise PatchError("this patch has been removed: patch the ViT again to give it a schedule.")
        schedule = Schedule.parse(value)
        schedule.per_layer(len(self._blocks))
        self._blocks.settings = replace(self._blocks.settings, schedule=schedule)

    @property
    def r(self) -> list[int]:
        """Tokens each layer is asked to remove; setting it, ToMe's way, sets the schedule."""
        return self.schedule.per_layer(len(self._blocks))

    @r.setter
    def r(self, value: Any) -> None:
        self.schedule = value

    @property
    def num_prefix_tokens(self) -> int:
        """T, tokens in front of the patch tokens."""
        return self._blocks.settings.num_prefix_tokens

    @property
    def plan(self) -> MergePlan | None:
        """From the tokens of the last forward to its last slots; None before the first forward.

        With several threads, the last to finish. Its `sizes()` are those of merging.

        Raises:
            PatchError: patched without `record=True`.
        """
        plans = self._recorded()
        return plans[-1] if plans else None

    @property
    def plans(self) -> tuple[MergePlan, ...]:
        """One plan per block that merged in the last forward, each from the first tokens on.

        Raises:
            PatchError: patched without `record=True`.
        """
        plans = self._recorded() or ()
        return plans if any(p.num_slots < p.num_tokens for p in plans) else ()

    def _recorded(self) -> tuple[MergePlan, ...] | None:
        if not self._blocks.record:
            raise PatchError("this patch keeps no plans: use patch(..., record=True).")
        return self._blocks.plans


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
) -> PatchHandle:
    """Make a ViT merge tokens between its blocks, until the handle is removed or its `with` block left.

    The ViT is `model` itself or a module inside it: whatever owns a ModuleList or Sequential of blocks that
    `shared_tmu.blocks` recognises. If several do, the one called `blocks` in `model` itself counts; else say
    which. Its forward must iterate over the blocks or call them; blocks taken by index or by `children()` run
    as they are. From the first merge on, hooks on a block and on its `attn` are not called.

    Args:
        model: the ViT, or a model that contains exactly one.
        schedule: tokens to remove per layer, anything `Schedule.parse` reads.
        method: row of `METHODS`.
        num_prefix_tokens: tokens in front of the patch tokens (class, register, task), which never merge.
            None takes what the ViT says in an attribute of that name, as timm's do, else 0.
        unmerge: restore the full sequence after the last block; False is merge-only, for heads that take any
            length, "sparse" its stand-in for heads that need the grid (see `run_trunk`).
        proportional: let a token that stands for s tokens count s times in attention.
        protect: "last" reproduces published TMU, which protects the wrong end (see `run_trunk`).
        record: keep the plans of the last forward in `handle.plan` and `handle.plans`.

    Raises:
        PatchError: already patched, wrapped in `nn.DataParallel`, or no, or more than one, ViT found.
        ScheduleError: an unreadable schedule, or one for more layers than the ViT has.
        MethodError: no such method.
    """
    schedule, rule = Schedule.parse(schedule), find_method(method)
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
    owner, name, blocks = _find_trunk(model)
    if num_prefix_tokens is None:
        said = getattr(owner, "num_prefix_tokens", 0)
        num_prefix_tokens = said if isinstance(said, int) else 0
    settings = TrunkSettings(schedule, rule, num_prefix_tokens, unmerge, proportional, protect)
    settings.schedule.per_layer(len(blocks))
    for block in {type(block): block for block in blocks}.values():
        verify_block(block)
    owner._modules[name] = MergedBlocks(blocks, settings, record)
    return PatchHandle(owner, name)


def _find_trunk(model: nn.Module) -> tuple[nn.Module, str, nn.ModuleList | nn.Sequential]:
    """The module that owns the blocks, the name it gives them, and the blocks."""
    found: dict[str, tuple[nn.Module, str, nn.ModuleList | nn.Sequential]] = {}
    others: list[str] = []
    for path, owner in model.named_modules():
        for name, child in owner._modules.items():
            if not isinstance(child, nn.ModuleList | nn.Sequential) or not len(child):
                continue
            where = f"{path}.{name}" if path else name
            misfit = _find_container_misfit(child)
            if misfit is None:
                found[where] = (owner, name, child)
            elif all(hasattr(block, "attn") for block in child):
                others.append(f"{where} ({len(child)} x {type(child[0]).__name__}): {misfit}")
    if len(found) > 1 and "blocks" in found:
        return found["blocks"]
    if len(found) > 1:
        raise PatchError(
            f"{type(model).__name__} contains several ViTs: pass the owner of one of {', '.join(found)}."
        )
    if not found:
        raise PatchError(
            f"{type(model).__name__} has no ModuleList or Sequential of ViT blocks (norm1, attn.qkv, "
            f"attn.proj, attn.num_heads, norm2, mlp). Found: {'; '.join(others) or 'nothing like it'}."
        )
    (trunk,) = found.values()
    return trunk


def _find_container_misfit(container: nn.ModuleList | nn.Sequential) -> str | None:
    """Why this container cannot be swapped, or None."""
    base = nn.Sequential if isinstance(container, nn.Sequential) else nn.ModuleList
    for block in container._modules.values():
        if block is None or (misfit := find_misfit(block)):
            return misfit
    changed = [
        m for m in ("forward", "__iter__", "__getitem__") if getattr(type(container), m) != getattr(base, m)
    ]
    if changed:
        return f"{type(container).__name__} has its own {', '.join(changed)}, which merging would ignore"
    return None
