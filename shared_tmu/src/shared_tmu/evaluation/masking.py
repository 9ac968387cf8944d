"""Masks of an evaluation: drawn for each sample as the runs need them, and the time that this takes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shared_tmu.datasets import EvalSet
from shared_tmu.masks import MASKS, NO_MASK
from shared_tmu.programs.model_program import ModelProgram, Run
from shared_tmu.programs.timing import synchronize

TOKENS = "mask_tokens"
"""Kept with predictions: how many tokens of a sample a mask protects, `[N]`."""

_DETECTED = ("landmarks", "segmentation")
_TIMED = 16  # samples
_REPEATS = 5


def _uses_detector(names: Sequence[str]) -> bool:
    return any(name in _DETECTED for name in names)


def masks_of(runs: Iterable[Run]) -> tuple[str, ...]:
    """Rows that runs need, without repeats."""
    return tuple(dict.fromkeys(run.mask for run in runs if run.mask != NO_MASK))


def key_of(mask: str) -> str:
    """The key in a batch for the pixels `[B, H, W]` of a mask."""
    return f"mask_{mask}"


def draw_masks(
    data: EvalSet, index: int, crop: Mapping[str, Tensor], names: Sequence[str]
) -> dict[str, Tensor]:
    """Masks of a sample, `[H, W]` bool each; without foreground if the inputs of a mask are not known.

    Raises:
        InputError: the picture cannot be read.
    """
    if not names:
        return {}
    scene = data.scene(index, crop, with_detector=_uses_detector(names))
    drawn = {name: MASKS[name].draw(scene) for name in names}
    return {
        key_of(name): torch.from_numpy(np.zeros(scene.size, bool) if mask is None else mask)
        for name, mask in drawn.items()
    }


def describe_masks(run: Run, found: np.ndarray[Any, Any] | None) -> dict[str, Any]:
    """The entries of a result line on a run's mask.

    Args:
        run: says which mask.
        found: number of tokens that it protected, `[N]`.
    """
    if found is None:
        return {"mask": run.mask, TOKENS: None, "mask_missing": None}
    missing = int((found == 0).sum())
    return {"mask": run.mask, TOKENS: float(found.mean()), "mask_missing": missing}


def measure_masks(
    program: ModelProgram, model: nn.Module, data: EvalSet, runs: Sequence[Run], device: torch.device
) -> dict[Run, dict[str, Any]]:
    """For each run `mask_ms`: milliseconds per crop from what is known of it to a token mask on `device`.

    Medians; None without a mask. What a detector takes to find landmarks does not count: the demo has found
    them already.
    """
    rows = range(min(len(data), _TIMED))
    names = masks_of(runs)
    if not names:
        return {run: {"mask_ms": None} for run in runs}
    crops = [data.load(index) for index in rows]
    scenes = [
        data.scene(index, crop, with_detector=_uses_detector(names))
        for index, crop in zip(rows, crops, strict=True)
    ]
    taken: dict[str, float] = {}
    for name in names:
        seconds = []
        for _ in range(_REPEATS):
            started = time.perf_counter()
            drawn = [MASKS[name].draw(scene) for scene in scenes]
            pixels = [
                np.zeros(scene.size, bool) if m is None else m for scene, m in zip(scenes, drawn, strict=True)
            ]
            program.estimates.cover(model, torch.from_numpy(np.stack(pixels)).to(device))
            synchronize(device)
            seconds.append(time.perf_counter() - started)
        taken[name] = 1000.0 * float(np.median(seconds)) / len(scenes)
    return {run: {"mask_ms": taken.get(run.mask)} for run in runs}


def without_masks_lacking(data: EvalSet, runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs whose masks a set may have, and a sentence for each of the others."""
    reasons = {name: data.lacking(MASKS[name]) for name in masks_of(runs)}
    possible = [run for run in runs if reasons.get(run.mask) is None]
    refused = [f"{run.label} on {data.name}: {reasons[run.mask]}." for run in runs if run not in possible]
    return possible, refused
