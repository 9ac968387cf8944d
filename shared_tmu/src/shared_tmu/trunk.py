"""Runs a sequence of blocks with a method that reduces the number of tokens: a pure function."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .blocks.arguments import find_positions
from .blocks.guard import call_whole
from .blocks.halves import find_misfit
from .blocks.parts import Block
from .blocks.verification import require_tried
from .errors import PatchError
from .method_parts.held import Holding
from .method_parts.learned import make_learned
from .method_parts.method import Method
from .method_parts.protection import WEIGHT, sound
from .method_parts.reductions import Route
from .method_parts.seen import Grid
from .methods import find_method
from .plans.plan import MergePlan
from .schedule import Schedule
from .trunk_pass import ByBlock, Mask, TrunkPass
from .trunk_settings import Protect, TrunkSettings, Unmerge

__all__ = ["Mask", "Protect", "TrunkPass", "TrunkSettings", "Unmerge", "run_blocks", "run_trunk"]


def run_trunk(
    blocks: Iterable[nn.Module],
    x: Tensor,
    schedule: Any,
    *,
    method: str | Method = "tome",
    num_prefix_tokens: int = 0,
    unmerge: Unmerge = True,
    proportional: bool = True,
    protect: Protect = "first",
    mask: Mask | None = None,
    restore: str = "copy",
    grid: Grid | None = None,
    learned: nn.Module | None = None,
    certain: float = WEIGHT,
) -> tuple[Tensor, Route]:
    """Run all blocks, removing tokens as the schedule says; `"off"` is `for b in blocks: x = b(x)`.

    From the first reduction on, the functions of `shared_tmu.blocks` replace a block's own forward, so hooks
    on the block and on its `attn` are not called (those on other parts are). The first call tries blocks out.

    Args:
        blocks: pre-norm transformer blocks, see `shared_tmu.blocks`.
        x: tokens, `[B, N, C]`.
        schedule: a `Schedule`, or anything `Schedule.parse` reads.
        method: row of `METHODS`.
        num_prefix_tokens: tokens at the front (class, register, task) that never merge and stay first.
        unmerge: give every original token its slot's features after the last block; False returns the slots
            (with thresholds also padding, of size 0 in the plan); "sparse", a control, gives them to each
            slot's first token only and zeros to the others.
        proportional: add log(size) to the attention logits, as in ToMe, for methods that use this.
        protect: "first", or, only for comparison, "last": protect as many tokens at the end instead, as
            published TMU does although its task tokens are at the front, so that these merge.
        mask: further tokens to protect, `[B, N]` bool, or `[B, N - T]` without the prefix; or a function that
            computes it from the tokens `[B, N, C]`, or a `ReadMask`, which does so at a block. Every method
            follows the rule "background first": as many tokens are removed as without a mask; a protected one
            is removed, or receives another, only if too few others are left, in the method's own order.
        restore: row of `RESTORES`, how the full grid is restored.
        grid: rows and columns of the patches, for methods that use it.
        learned: the module of a method that learns; an untrained one is made where a method runs with it.
        certain: weight in a float mask of tokens that surely show the subject, see `method_parts.protection`.

    Returns:
        Tokens `[B, N, C]` (`[B, M, C]` without unmerging), and the plan from the N tokens to the last M
        slots. It is a `Chain`, without a source map, for methods that mix all tokens; `unmerge` takes both.

    Raises:
        ScheduleError: the schedule cannot be parsed, has too many layers, or does not suit this method.
        PatchError: blocks are not recognised, or compute something else.
        PlanError: `x` is not `[B, N, C]`, or has fewer tokens than the prefix; or a mask does not fit.
        MethodError: there is no such method, or its grid or learned module is missing.
    """
    settings = TrunkSettings(
        Schedule.parse(schedule), find_method(method), num_prefix_tokens, unmerge, proportional, protect,
        restore, grid, certain,
    )  # fmt: skip
    blocks = _recognised(blocks, x, settings)
    learned = _untrained(settings.method, blocks) if learned is None else learned
    out, plans = run_blocks(blocks, x, settings, mask=sound(mask), learned=learned)
    return out, list(plans.values())[-1] if plans else MergePlan.identity(x.shape[0], x.shape[1], x.device)


def _untrained(method: Method, blocks: Sequence[nn.Module]) -> nn.Module | None:
    """The module of a method that learns and runs untrained, as it is before training."""
    return make_learned(method.learn, blocks) if method.learn and method.runs_untrained else None


def _recognised(blocks: Iterable[nn.Module], x: Tensor, settings: TrunkSettings) -> list[nn.Module]:
    """The blocks; refuses those that are not recognised, that get arguments besides tokens, or that compute
    something else, if anything merges.
    """
    found = list(blocks)
    for number, block in enumerate(found if not torch.compiler.is_compiling() else ()):
        if misfit := find_misfit(block):
            raise PatchError(f"block {number} ({type(block).__name__}) is not a ViT block: {misfit}.")
        if told := find_positions(block):
            raise PatchError(
                f"block {number} ({type(block).__name__}) gets {', '.join(told)} besides tokens, which "
                "merging would ignore: it cannot be run here."
            )
    is_traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    if settings.merges(len(found)) and not is_traced:
        require_tried(found, (x.shape[1], x.shape[2]) if x.ndim == 3 and x.shape[1] else None)
    return found


def run_blocks(
    blocks: Sequence[Block],
    x: Tensor,
    settings: TrunkSettings,
    *,
    mask: Mask | None = None,
    learned: nn.Module | None = None,
    held: Holding | None = None,
) -> tuple[Tensor, ByBlock]:
    """`run_trunk` for blocks that were already checked; with held plans, see `PatchHandle.holding`.

    Returns:
        Tokens, and one route per block that reduced them, each from the N tokens of `x` to the slots after
        that block.
    """
    if not settings.merges(len(blocks)):
        for block in blocks:
            x = call_whole(block, x)
        return x, {}
    run = TrunkPass(settings, len(blocks), mask, learned, held)
    x = run.reduce(x)
    for number, block in enumerate(blocks):
        x = run.step(number, block, x)
    return run.leave(x), run.plans_by_block
