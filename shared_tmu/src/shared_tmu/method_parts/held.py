"""Plans that later forward passes use again, for pictures in which hardly anything has changed.

Which tokens merge is a decision, and it flips where two similarities are nearly equal. So a prediction jumps
between two frames of a video that hardly differ. If the second frame merges the tokens that the first one
merged, only their features change, and the prediction moves as little as that of the unpatched model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from ..errors import HoldError, PatchError, PlanError
from ..plans.plan import MergePlan
from .reductions import Merge, Reduction

Step = tuple[int, int]  # number of a block, and how many tokens it had


class Images(Protocol):
    """What is to be known of the images of a block, see `Seen`."""

    layer: int
    method: str
    tokens: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """B and N, images and current tokens."""


Some = TypeVar("Some", bound=Images)


class HeldPlans:
    """Which tokens merged in earlier passes, under names that the caller chooses: the number of a track, say.

    Give them to `PatchHandle.holding`. A name belongs to one crop of one subject; a crop in which that has
    changed much needs a new name. Not for several threads at once.
    """

    def __init__(self) -> None:
        self._maps: dict[Hashable, dict[Step, tuple[Tensor, int]]] = {}
        self._made_by: Any = None

    def __contains__(self, name: Hashable) -> bool:
        return name in self._maps

    def __len__(self) -> int:
        return len(self._maps)

    def keep_only(self, names: Collection[Hashable]) -> None:
        """Forget the plans under all other names."""
        self._maps = {name: maps for name, maps in self._maps.items() if name in names}

    def claim(self, settings: Any) -> None:
        """See that all plans come from the same settings.

        Raises:
            PatchError: they come from others.
        """
        if self._maps and settings != self._made_by:
            made = self._made_by
            raise PatchError(
                f"these plans were made by {made.method.name!r} at '{made.schedule}', and would not fit "
                f"{settings.method.name!r} at '{settings.schedule}': make a new HeldPlans for that."
            )
        self._made_by = settings

    def find(self, name: Hashable, step: Step, num_slots: int, device: torch.device) -> Tensor | None:
        """The source map of a step, `[N]`, on a device, to which the model may have moved; None if there is
        none yet.

        Raises:
            PlanError: it leaves another number of slots.
        """
        source_map, slots = self._maps.get(name, {}).get(step, (None, num_slots))
        if slots != num_slots:
            raise PlanError(
                f"the plan held for {name!r} leaves {slots} tokens in block {step[0]}, but this pass asks "
                f"for {num_slots}."
            )
        return None if source_map is None else source_map.to(device)

    def store(self, name: Hashable, step: Step, source_map: Tensor, num_slots: int) -> None:
        """Hold the source map `[N]` of a step."""
        self._maps.setdefault(name, {})[step] = (source_map, num_slots)


@dataclass(frozen=True)
class Holding:
    """Held plans, and the name of each image of a batch.

    Attributes:
        plans: read, and completed by names that are new.
        names: one per image; None for an image that decides alone and is not held.
    """

    plans: HeldPlans
    names: Sequence[Hashable | None]

    def decide(self, seen: Some, plan: Callable[[Some, int], Reduction | None], r: int) -> Reduction:
        """As `plan(seen, r)`, but with the held maps of the images that have some.

        The first image of a new name decides for all of this name. If every image has a held map, `plan` is
        not called, so matching costs nothing.

        Raises:
            PatchError: there is another number of images than of names.
            HoldError: the method does something else than to merge r tokens.
            PlanError: a held map leaves another number of tokens.
        """
        batch, num_tokens = seen.shape
        if len(self.names) != batch:
            raise PatchError(f"plans are held for {len(self.names)} images, but this batch has {batch}.")
        step, num_slots, device = (seen.layer, num_tokens), num_tokens - r, seen.tokens.device
        rows = [self._find(name, step, num_slots, device) for name in self.names]
        if any(row is None for row in rows):
            made = _require_merge(plan(seen, r), seen.method, num_slots)
            is_own = self._store(rows, made, step)
            if all(is_own):
                return Merge(made)
        maps = torch.stack([row for row in rows if row is not None])
        return Merge(MergePlan(maps, num_slots, validate=False))

    def _store(self, rows: list[Tensor | None], made: MergePlan, step: Step) -> list[bool]:
        """Fill the rows of images that have no held map, and hold those of new names; which ones are their
        image's own?"""
        is_own = []
        for image, name in enumerate(self.names):
            held = self._find(name, step, made.num_slots, made.source_map.device)
            is_own.append(held is None)
            if held is None:
                held = made.source_map[image]
                if name is not None:
                    self.plans.store(name, step, held.clone(), made.num_slots)
            rows[image] = held
        return is_own

    def _find(self, name: Hashable | None, step: Step, num_slots: int, device: torch.device) -> Tensor | None:
        return None if name is None else self.plans.find(name, step, num_slots, device)


def read_names(names: Any) -> tuple[Hashable | None, ...]:
    """Names that are found again: numbers in tensors and arrays, as trackers give them, count by value.

    Raises:
        PatchError: it is no list of names, or a name in it would never be found again.
    """
    listed = names.tolist() if hasattr(names, "tolist") else names
    if isinstance(listed, str | bytes) or not isinstance(listed, Iterable):
        raise PatchError(f"plans are held under one name per image, but {names!r} is no list of names.")
    read = tuple(name.tolist() if hasattr(name, "tolist") else name for name in listed)
    for name in read:
        if not isinstance(name, Hashable) or name != name:  # NaN
            raise PatchError(f"plans cannot be held under {name!r}: use a number or a string as a name.")
    return read


def _require_merge(reduction: Reduction | None, method: str, num_slots: int) -> MergePlan:
    plan = reduction.plan if type(reduction) is Merge else None
    if plan is None or plan.is_padded or plan.prunes or plan.num_slots != num_slots:
        raise HoldError(
            f"plans of method {method!r} cannot be held, because it does something else than to replace "
            "a fixed number of groups by their means: use a method such as 'tome' or 'quadtree'."
        )
    return plan
