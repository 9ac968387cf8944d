"""State that the containers of one patched ViT share: how it is run, and the current masks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from threading import Lock
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from ..blocks.guard import guard_blocks, is_in_backward
from ..blocks.verification import BlockCheck
from ..errors import PatchError, PlanError
from ..method_parts.held import Holding
from ..method_parts.protection import sound
from ..method_parts.reductions import Route
from ..method_parts.seen import Watch
from ..plans.plan import MergePlan
from ..trunk import Mask, TrunkPass, TrunkSettings
from ..trunk_pass import ByBlock

_masks: ContextVar[tuple[tuple[Trunk, Mask], ...]] = ContextVar("masks of trunks", default=())
_holdings: ContextVar[tuple[tuple[Trunk, Holding], ...]] = ContextVar("held plans of trunks", default=())
_lock = Lock()  # of the counts of open blocks


class Trunk:
    """State that the containers of one patched ViT share: its settings, and the passes in progress.

    Attributes:
        settings: how to merge; replaced as a whole, read once per pass.
        depth: blocks.
        record: whether to keep the plans of the last forward.
        plans: those plans, by block.
        plan: the last of them; None before the first forward.
        is_active: False after the patch has been removed.
        mask: tokens to protect in every forward, see `run_trunk`.
        has_masks: whether `masked` has ever been used.
        has_holdings: whether `holding` has ever been used.
        num_open: `with` blocks of both that some thread is in; torch.compile cannot trace what they hold.
        learned: the module of a method that learns. It is not a submodule of the model, so the model's
            state-dict keys do not change.
        is_traced: whether torch.compile has traced a pass.
    """

    def __init__(
        self,
        settings: TrunkSettings,
        depth: int,
        record: bool,
        check: BlockCheck,
        mask: Mask | None = None,
        learned: nn.Module | None = None,
    ) -> None:
        self.settings = settings
        self.mask = sound(mask)
        self.has_masks = False
        self.has_holdings = False
        self.num_open = 0
        self.learned = learned
        self.depth = depth
        self.record = record
        self.plans: ByBlock = {}
        self.plan: Route | None = None
        self.is_active = True
        self.check = check
        self.is_traced = False
        self.passes = WeakTensorKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        """Plans and passes belong to a forward, so they are neither copied nor saved."""
        kept = {name: value for name, value in vars(self).items() if name != "passes"}
        return kept | {"plans": {}, "plan": None, "num_open": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.passes = WeakTensorKeyDictionary()

    @property
    def merges(self) -> bool:
        """Whether any block must run differently from its own forward."""
        return self.is_active and self.settings.merges(self.depth)

    def turn(self, x: Tensor) -> Tensor:
        """Tokens as the blocks take them to `[B, N, C]`, or the reverse."""
        return x.transpose(0, 1) if self.check.is_sequence_first else x

    @property
    def followers(self) -> tuple[nn.Module, ...]:
        """Modules outside the model that are moved, cast and put into a mode with it."""
        return tuple(part for part in (self.learned, self.mask) if isinstance(part, nn.Module))

    def keep(self, plans: ByBlock, x: Tensor | torch.fx.Proxy) -> None:
        """Keep the plans of a pass of tokens `[B, N, C]`, if recording is on."""
        if self.record and not isinstance(x, torch.fx.Proxy):
            self.plans = plans
            self.plan = next(reversed(plans.values()), None) or MergePlan.identity(
                x.shape[0], x.shape[1], x.device
            )

    def refuse_padding(self, plans: ByBlock) -> None:
        """Refuse to give padding to the layers after the blocks, which would read it as tokens.

        Raises:
            PlanError: the images of the batch keep different numbers of tokens, and none are restored.
        """
        last = next(reversed(plans.values()), None)
        if self.settings.may_pad and isinstance(last, MergePlan) and last.is_padded:
            raise PlanError(
                f"with '{self.settings.schedule}' the images of this batch keep different numbers of tokens, "
                "and unmerge = False would give the layers after the blocks padding in place of the missing "
                "ones: use unmerge = True or 'sparse', or one image per batch."
            )

    def require_recorded(self) -> None:
        """Refuse to tell plans that were not kept."""
        if not self.record:
            raise PatchError("this patch does not record plans: use patch(..., record=True).")

    @contextmanager
    def masked(self, mask: Mask) -> Iterator[None]:
        """Protect these tokens in every forward of this thread (or async task) inside the `with` block."""
        self.has_masks = True
        with self._open(_masks, sound(mask)):
            yield

    def find_mask(self) -> Mask | None:
        """The mask for the pass that begins now.

        Raises:
            PatchError: a forward is recomputed for its gradients, and its mask is no longer known.
        """
        if not self.has_masks or (torch.compiler.is_compiling() and not self.num_open):
            return self.mask
        for trunk, mask in reversed(_masks.get()):
            if trunk is self:
                return mask
        if is_in_backward():
            raise PatchError(
                "a forward pass inside handle.masked(...) is computed again in the backward pass, where "
                "its mask is unknown: use gradient checkpointing for single blocks, or give "
                "patch(mask=...) a function of the tokens."
            )
        return self.mask

    @contextmanager
    def holding(self, held: Holding) -> Iterator[None]:
        """Use held plans in every forward of this thread (or async task) inside the `with` block.

        Raises:
            PatchError: the plans were made with other settings.
        """
        held.plans.claim(replace(self.settings, watch=None))
        self.has_holdings = True
        with self._open(_holdings, held):
            yield

    @contextmanager
    def watching(self, watch: Watch) -> Iterator[None]:
        """Report every run of the ViT, in any thread, to an observer inside the `with` block."""
        before = self.settings.watch
        self.settings = replace(self.settings, watch=watch)
        try:
            yield
        finally:
            self.settings = replace(self.settings, watch=before)

    @contextmanager
    def _open(self, entered: ContextVar[Any], value: Any) -> Iterator[None]:
        """Inside the `with` block, the value is this trunk's in this thread (or async task).

        Raises:
            PatchError: the patch has been removed, so that nothing would read the value.
        """
        if not self.is_active:
            raise PatchError("this patch has been removed: patch the ViT again to mask tokens or hold plans.")
        token = entered.set((*entered.get(), (self, value)))
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)
            entered.reset(token)

    def _count(self, more: int) -> None:
        with _lock:
            self.num_open += more

    def find_held(self) -> Holding | None:
        """The held plans for the pass that begins now.

        Raises:
            PatchError: the model is compiled, or a forward is recomputed for its gradients.
        """
        if not self.has_holdings or (torch.compiler.is_compiling() and not self.num_open):
            return None
        if torch.compiler.is_compiling():
            raise PatchError(
                "handle.holding(...) decides by the names of images, which torch.compile would store in its "
                "graph: run the model without torch.compile."
            )
        found = next((held for trunk, held in reversed(_holdings.get()) if trunk is self), None)
        if found is None and is_in_backward():
            raise PatchError(
                "a forward pass inside handle.holding(...) may be computed again in the backward pass, where "
                "its plans are unknown: use gradient checkpointing for single blocks."
            )
        return found

    def verify(self, number: int, block: nn.Module) -> None:
        """Check that a block is unchanged, or still computes the same.

        Raises:
            PatchError: it computes something else now.
        """
        if self.check.again(number, block):
            guard_blocks([(number, block)], self)

    def begin(self) -> TrunkPass:
        """A new pass."""
        return TrunkPass(self.settings, self.depth, self.find_mask(), self.learned, self.find_held())

    def begins(self, number: int) -> bool:
        """Whether nothing merges before that block."""
        return not any(self.settings.schedule.per_layer(self.depth)[:number])
