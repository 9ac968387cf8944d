"""Tokens and FLOPs of a run, counted on pictures: for methods whose counts depend on them, the mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from shared_tmu.datasets import SetOptions, open_dataset
from shared_tmu.evaluation.batches import load_batch
from shared_tmu.flops import TrunkShape
from shared_tmu.method_parts.reductions import Route
from shared_tmu.method_parts.relaxed import flops_share
from shared_tmu.plans.plan import MergePlan
from shared_tmu.programs.model_program import ModelProgram, Run
from shared_tmu.programs.trunk_shapes import shape_of
from shared_tmu.schedule import Schedule

_STEPS = 12  # of a bisection between thresholds of 0 and 1
_BATCH = 16


@dataclass(frozen=True)
class BlockCosts:
    """What a schedule costs.

    Attributes:
        schedule: the schedule.
        tokens: mean number of tokens that enter a block, over all blocks.
        kept: mean number of tokens after the last block.
        flops_share: FLOPs of the blocks over those without merging.
    """

    schedule: Schedule
    tokens: float
    kept: float
    flops_share: float

    def numbers(self) -> dict[str, float]:
        """Rounded, for a line."""
        return {
            "tokens": round(self.tokens, 2),
            "tokens_kept": round(self.kept, 2),
            "flops_share": round(self.flops_share, 4),
        }


@torch.inference_mode()
def measure_costs(program: ModelProgram, model: nn.Module, run: Run, count: int) -> BlockCosts:
    """Count on the first pictures of the model's own set.

    Args:
        program: description of the model.
        model: on the CPU.
        run: of a method that acts between attention and MLP.
        count: pictures.
    """
    options = SetOptions().for_model(model)
    data = open_dataset(program.estimates.dataset, Path(), options).head(count)
    shape = shape_of(program, model)
    parts = []
    with run.patched(program, model, record=True) as handle:
        for start in range(0, len(data), _BATCH):
            rows = range(start, min(start + _BATCH, len(data)))
            model(load_batch(data, rows, torch.device("cpu")))
            parts.append(tokens_left(handle.plans_by_block, len(rows), shape))
    left = torch.cat(parts)  # [B, L + 1]
    share = left / shape.num_tokens
    spent = [flops_share(list(pairwise(row)), shape) for row in share]
    return BlockCosts(
        run.schedule,
        float(left[:, :-1].mean()),
        float(left[:, -1].mean()),
        float(torch.stack(spent).mean()),
    )


def tokens_left(plans: Mapping[int, Route], batch: int, shape: TrunkShape) -> Tensor:
    """Tokens of each image before the first block and after each, `[B, L + 1]`.

    Args:
        plans: of the blocks that merged, see `PatchHandle.plans_by_block`.
        batch: images.
        shape: of the trunk.
    """
    columns = [torch.full((batch,), float(shape.num_tokens))]
    for number in range(shape.depth):
        plan = plans.get(number)
        assert plan is None or isinstance(plan, MergePlan)
        columns.append(columns[-1] if plan is None else (plan.sizes() > 0).sum(1).float())
    return torch.stack(columns, 1)


def equal_threshold(
    program: ModelProgram, model: nn.Module, method: str, flops_share: float, count: int
) -> BlockCosts:
    """One merge threshold for all blocks, with at least the given FLOPs and next to them."""

    def cost(threshold: float) -> BlockCosts:
        schedule = Schedule.parse(f"threshold:{threshold:.4f}")
        return measure_costs(program, model, Run(schedule, method, True), count)

    low, high = 0.0, 1.0  # a higher threshold merges less
    best = cost(high)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        found = cost(middle)
        if found.flops_share >= flops_share:
            high, best = middle, found
        else:
            low = middle
    return best
