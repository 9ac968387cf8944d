"""Samples with their truth, cut once and tried again and again with other ways of merging."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared_tmu.datasets import EvalSet, SetOptions, check_dataset, open_dataset
from shared_tmu.errors import InputError
from shared_tmu.evaluation.batches import join, load_batch, to_arrays
from shared_tmu.evaluation.store import Arrays

Batch = Mapping[str, Tensor]
Errors = NDArray[np.float64]
MAX_BYTES = 2 << 30
"""Samples beyond this are cut again each time."""


@dataclass(frozen=True)
class SampleChoice:
    """Which samples, and in how large batches.

    Args:
        dataset: canonical name of the set.
        data_dir: where sets are looked for.
        limit: only so many; None for all.
        is_spread: frames of sequences are taken from all over the set, instead of the first; see `spread`.
        batch_size: samples per model call.
        device: where batches go.
        options: how the set is read.
    """

    dataset: str
    data_dir: Path
    limit: int | None
    batch_size: int
    device: torch.device
    options: SetOptions = field(default_factory=SetOptions)
    is_spread: bool = False

    def check(self) -> None:
        """Find out quickly whether the set can be opened.

        Raises:
            TMUError: it cannot.
        """
        check_dataset(self.dataset, self.data_dir, self.options)


def spread(data: EvalSet, count: int) -> EvalSet:
    """So many samples of a set: the first; where several are of one group, every n-th, for their groups
    follow each other, and the error on one sequence says little about others.
    """
    if len(set(data.groups)) == len(data):
        return data.head(count)
    step = max(1, len(data) // count)
    return data.part(slice(0, step * count, step))


class Samples:
    """Samples of a set as a model takes them.

    Args:
        data: the set.
        batch_size: samples per model call.
        device: where batches go; they wait in the memory of the CPU.
        masks: rows of `shared_tmu.masks.MASKS` to draw, too.
    """

    def __init__(
        self, data: EvalSet, batch_size: int, device: torch.device, masks: Sequence[str] = ()
    ) -> None:
        self.data, self.device, self.masks = data, device, tuple(masks)
        self._rows = [
            range(start, min(start + batch_size, len(data))) for start in range(0, len(data), batch_size)
        ]
        self._kept: dict[int, dict[str, Tensor]] = {}
        self._bytes = 0

    @classmethod
    def of_set(cls, asked: SampleChoice, model: nn.Module, masks: Sequence[str] = ()) -> Samples:
        """Open a set for a model.

        Args:
            asked: which samples.
            model: has a configuration.
            masks: see above.

        Raises:
            TMUError: it cannot be opened.
        """
        options = asked.options.for_model(model)
        data = open_dataset(asked.dataset, asked.data_dir, options)
        if asked.limit:
            data = spread(data, asked.limit) if asked.is_spread else data.head(asked.limit)
        return cls(data, asked.batch_size, asked.device, masks)

    def __len__(self) -> int:
        return len(self.data)

    @property
    def num_batches(self) -> int:
        """Model calls for all of them."""
        return len(self._rows)

    def fewer(self, num_batches: int) -> Samples:
        """As many as fill so many batches, chosen by `spread`."""
        count = self._rows[min(num_batches, self.num_batches) - 1].stop
        return Samples(spread(self.data, count), self._rows[0].stop, self.device, self.masks)

    def batch(self, number: int) -> dict[str, Tensor]:
        """One batch, on the device.

        Raises:
            InputError: a picture cannot be read.
        """
        found = self._kept.get(number)
        if found is None:
            found = load_batch(self.data, self._rows[number], torch.device("cpu"), self.masks)
            size = sum(values.nbytes for values in found.values())
            if self._bytes + size <= MAX_BYTES:
                self._kept[number] = found
                self._bytes += size
        return {name: values.to(self.device) for name, values in found.items()}

    @torch.inference_mode()
    def predict(
        self, call: Callable[[int, Batch], Mapping[str, Any]], numbers: range | None = None
    ) -> Arrays:
        """What a set keeps of a model's outputs, `[N, ...]` each.

        Args:
            call: from the number of a batch, and the batch, to the model's output.
            numbers: numbers of the batches; None for all.
        """
        parts = []
        for number in range(self.num_batches) if numbers is None else numbers:
            batch = self.batch(number)
            parts.append(to_arrays(call(number, batch), batch, self.data.kept))
        return join(parts)

    def errors(self, outputs: Arrays, metric: str) -> Errors:
        """An error of every sample, `[N]` millimetres; all NaN if any output is not finite.

        Args:
            outputs: outputs of `predict`, of the first N samples.
            metric: as in result lines.

        Raises:
            InputError: the set has no such error.
        """
        count = len(next(iter(outputs.values())))
        if not all(np.isfinite(values).all() for values in outputs.values()):
            return np.full(count, np.nan)
        data = self.data if count == len(self.data) else self.data.head(count)
        found = data.score(data.place(outputs)).per_sample
        if metric not in found:
            known = ", ".join(name for name in found if name.endswith("_mm"))
            raise InputError(
                f"--metric {metric} is not an error of {self.data.name} in millimetres: "
                f"{f'use one of {known}' if known else 'it has none, use a set with true meshes'}."
            )
        return np.asarray(found[metric], np.float64)


def metric_name(text: str) -> str:
    """The name in result lines of what a user calls `PA-MPVPE`, `pa_mpvpe` or `pa_mpvpe_mm`."""
    name = text.strip().lower().replace("-", "_")
    return name if name.endswith("_mm") else f"{name}_mm"
