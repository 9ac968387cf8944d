"""How similar the tokens of a trained model are, and how much its blocks change them: this explains why
merging costs little accuracy.

`scripts/measure_tokens.py` runs this for a bundled model.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared_tmu.blocks.halves import find_misfit
from shared_tmu.datasets import SetOptions, open_dataset
from shared_tmu.evaluation.batches import load_batch
from shared_tmu.files import write_text
from shared_tmu.method_parts.reductions import Reduction
from shared_tmu.method_parts.seen import Seen, Watch
from shared_tmu.plans.matching import halves, match_similar
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import FlagParser
from shared_tmu.programs.identity import file_sha256, weights_sha256
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.programs.results import describe_environment

_PARTS = 4  # of the trunk, one line for each


@dataclass(frozen=True)
class BlockFacts:
    """Measurements of one block.

    Args:
        merged_cosine: mean cosine between the keys of pairs that merge in the block.
        random_cosine: the same over all pairs that could merge, which is the expected value for random
            merging.
        task_cosine: the same over all pairs of task tokens; None if there are fewer than two.
        change: mean length of what the unpatched block adds to tokens, divided by the mean length of the
            tokens.
    """

    merged_cosine: float
    random_cosine: float
    task_cosine: float | None
    change: float


def main(program: ModelProgram, arguments: Sequence[str] | None = None) -> int:
    """Measure, and write one JSON line for each part of the trunk and one for all of it; returns the exit
    status.
    """
    return run_program(lambda: _measure(program, arguments))


def _measure(program: ModelProgram, arguments: Sequence[str] | None) -> None:
    parser = FlagParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--r", default="5", help="schedule that removes tokens in every block")
    parser.add_argument(
        "--limit", type=int, default=64, help="number of samples of the generated evaluation set"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON-lines file, replaced")
    given = parser.parse_args(arguments)
    model = program.load_model(None, None).eval()
    name = program.estimates.dataset
    data = open_dataset(name, Path(), SetOptions().for_model(model)).head(given.limit)
    device = torch.device("cpu")
    blocks = measure_blocks(program, model, load_batch(data, range(len(data)), device), given.r)
    shared = {
        "kind": "tokens",
        **{"model": program.name, "dataset": name, "n": len(data), "schedule": given.r},
        "weights_sha256": weights_sha256(model),
        "checkpoint_sha256": file_sha256(program.default_checkpoint),
        **describe_environment(device, program.folder),
    }
    lines = [json.dumps({**shared, **line}) + "\n" for line in summarise(blocks)]
    write_text(given.out, "".join(lines))
    sys.stdout.write(f"{given.out}\n")


@torch.inference_mode()
def measure_blocks(
    program: ModelProgram, model: nn.Module, batch: Mapping[str, Tensor], schedule: str
) -> list[BlockFacts]:
    """Measure every block on the samples of a batch.

    Args:
        program: description of the model.
        model: the unpatched model.
        batch: input of the model.
        schedule: schedule that merges in every block; it decides which pairs are measured.
    """
    changes: list[float] = []
    with _watched(model, changes):
        model(batch)
    pairs = _Pairs()
    with program.patch(model, schedule, "tome") as handle, handle.watching(pairs):
        model(batch)
    return [BlockFacts(*found, change) for found, change in zip(pairs.found, changes, strict=True)]


class _Pairs(Watch):
    """Cosines of the pairs in every block, measured where the block decides which of them merge."""

    def __init__(self) -> None:
        self.found: list[tuple[float, float, float | None]] = []

    def planned(self, seen: Seen, reduction: Reduction) -> None:
        """Measure the keys; the reduction tells how many tokens are removed."""
        r = seen.shape[1] - reduction.route.num_slots
        self.found.append(_cosines(seen.metric, r, seen.num_prefix_tokens))


def summarise(blocks: Sequence[BlockFacts]) -> list[dict[str, Any]]:
    """Means over quarters of the trunk, and over all of it.

    `effective_blocks` is (sum of changes)^2 / sum of squared changes: the effective number of blocks, if all
    working blocks contributed equally.
    """
    step = max(1, len(blocks) // _PARTS)
    ranges = [(start, min(start + step, len(blocks))) for start in range(0, len(blocks), step)]
    return [_mean(blocks[a:b], f"{a + 1}-{b}") for a, b in ranges] + [_mean(blocks, "all")]


def _mean(blocks: Sequence[BlockFacts], name: str) -> dict[str, Any]:
    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    changes = [block.change for block in blocks]
    squares = sum(change**2 for change in changes)
    task = [block.task_cosine for block in blocks if block.task_cosine is not None]
    return {
        "blocks": name,
        "merged_cosine": mean([block.merged_cosine for block in blocks]),
        "random_cosine": mean([block.random_cosine for block in blocks]),
        "task_cosine": mean(task) if task else None,
        "block_change": mean(changes),
        "effective_blocks": sum(changes) ** 2 / squares if squares else 0.0,
    }


def _cosines(metric: Tensor, r: int, prefix: int) -> tuple[float, float, float | None]:
    best, _ = match_similar(metric, prefix)  # [B, A]
    unit = nn.functional.normalize(metric, dim=-1)
    sources, targets = halves(unit, prefix)
    overall = (sources.mean(dim=1) * targets.mean(dim=1)).sum(dim=-1).mean()
    task = None
    if prefix > 1:
        products = unit[:, :prefix] @ unit[:, :prefix].transpose(1, 2)  # [B, T, T]
        task = float((products.sum(dim=(1, 2)) - prefix).mean() / (prefix * (prefix - 1)))
    return float(best.topk(r, dim=1).values.mean()), float(overall), task


@contextmanager
def _watched(model: nn.Module, changes: list[float]) -> Iterator[None]:
    def note(block: nn.Module, given: Any, out: Tensor) -> None:
        x = given[0]
        changes.append(float((out - x).norm(dim=-1).mean() / x.norm(dim=-1).mean()))

    hooks = [m.register_forward_hook(note) for m in model.modules() if find_misfit(m) is None]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
