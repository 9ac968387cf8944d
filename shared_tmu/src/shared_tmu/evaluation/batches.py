"""Samples of a set as batches, with their masks; and what is kept of a model's outputs for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from shared_tmu.datasets import EvalSet
from shared_tmu.errors import InputError
from shared_tmu.evaluation.masking import draw_masks
from shared_tmu.evaluation.store import Arrays

Loaded = tuple[dict[str, Tensor], list[str]]


class Batches(Dataset[Loaded]):
    """Batches of a set, and for pictures that cannot be read, error messages instead of the batch.

    Args:
        data: the set.
        batches: samples of each.
        masks: rows of `shared_tmu.masks.MASKS` to draw, too.
        shift_px: by which boxes are moved, see `EvalSet.load`.
    """

    def __init__(
        self,
        data: EvalSet,
        batches: Sequence[range],
        masks: Sequence[str],
        shift_px: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.data, self.batches = data, batches
        self.masks, self.shift_px = masks, shift_px

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Loaded:
        crops, problems = [], []
        for index in self.batches[number]:
            try:
                crop = self.data.load(index, self.shift_px)
                crops.append({**crop, **draw_masks(self.data, index, crop, self.masks)})
            except InputError as error:
                problems.append(str(error))
        if problems:
            return {}, problems
        return {name: torch.stack([crop[name] for crop in crops]) for name in crops[0]}, []


def load_batch(
    data: EvalSet,
    rows: range,
    device: torch.device,
    masks: Sequence[str] = (),
    shift_px: tuple[float, float] = (0.0, 0.0),
) -> dict[str, Tensor]:
    """Samples as one batch on `device`.

    Args:
        data: the set.
        rows: numbers of the samples.
        device: device of the batch.
        masks: rows of `shared_tmu.masks.MASKS` to draw too.
        shift_px: shift of the boxes, see `EvalSet.load`.

    Raises:
        InputError: a picture cannot be read.
    """
    batch, problems = Batches(data, [rows], masks, shift_px)[0]
    if problems:
        raise InputError(problems[0])
    return {name: values.to(device) for name, values in batch.items()}


def to_arrays(output: Mapping[str, Any], batch: Mapping[str, Tensor], kept: Sequence[str]) -> Arrays:
    """What is kept of a model's output and of its input, `[B, ...]` each."""
    found = {name: output[name] if name in output else batch[name] for name in kept}
    return {name: np.asarray(values.float().cpu().numpy()) for name, values in found.items()}


def join(parts: Sequence[Arrays]) -> Arrays:
    """Predictions of several batches or chunks, one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
