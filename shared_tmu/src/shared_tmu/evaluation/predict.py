"""Predictions of every run on a set: each picture is read once, and finished chunks are kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shared_tmu.datasets import EvalSet
from shared_tmu.errors import InputError, MissingDependencyError
from shared_tmu.evaluation.batches import join, to_arrays
from shared_tmu.evaluation.clip_masks import ClipMasks
from shared_tmu.evaluation.clip_stages import frame_arrays
from shared_tmu.evaluation.masking import TOKENS, Counted, key_of
from shared_tmu.evaluation.store import Arrays, Chunk, RunFolder
from shared_tmu.method_parts.held import Holding
from shared_tmu.programs.model_program import ModelProgram, Run, batch_mask
from shared_tmu.programs.program import Program

_log = logging.getLogger(__name__)


def assemble(folder: RunFolder, chunks: Sequence[Chunk]) -> Arrays | None:
    """All predictions of a run, `[N, ...]` each; None if a chunk is missing."""
    parts = [folder.load(chunk) for chunk in chunks]
    there = [part for part in parts if part is not None]
    return join(there) if len(there) == len(parts) else None


@torch.inference_mode()
def predict_batch(
    program: Program,
    model: nn.Module,
    run: Run,
    batch: Mapping[str, Tensor],
    kept: Sequence[str],
    held: Holding | None = None,
) -> Arrays:
    """What is kept of a run's predictions for a batch; `held` has plans to use again."""
    pixels, counts = batch.get(key_of(run.mask)), None
    is_clip = "clip" in batch
    with _features(program, model, is_clip) as features:
        if run.masks:
            with run.shortened(program, model), run.patched(program, model) as handle:
                counted = Counted.of(batch_mask(handle, program, model, pixels, run.weight), run.weight)
                again = nullcontext() if held is None else handle.holding(held.plans, held.names)
                with handle.masked(counted), again:
                    output = model(batch)
            counts = counted.found
        else:
            with run.applied(program, model, held=held):
                output = model(batch)
    found = to_arrays(output, batch, kept)
    if is_clip:
        more = frame_arrays(output, features)
        found |= to_arrays(more, batch, tuple(more))
    if counts is not None:
        found[TOKENS] = np.asarray(counts.float().cpu().numpy())
    return found


def predict_frames(
    program: Program,
    model: nn.Module,
    before: ClipMasks,
    batch: Mapping[str, Tensor],
    rows: range,
    held: Holding | None = None,
) -> Arrays:
    """`predict_batch` of a run whose masks need what it predicted in the frame before: one frame at a time.

    Args:
        program: description of the model.
        model: the model.
        before: the run, and the newest frame.
        batch: frames in order.
        rows: their numbers in the set.
        held: plans to use again, see `predict_batch`.
    """
    parts = []
    for place, index in enumerate(rows):
        here = slice(place, place + 1)
        frame = before.add(index, {name: values[here] for name, values in batch.items()})
        again = None if held is None else Holding(held.plans, held.names[here])
        parts.append(predict_batch(program, model, before.run, frame, before.data.kept, again))
        before.remember(index, parts[-1])
    return join(parts)


def _features(program: Program, model: nn.Module, is_clip: bool) -> AbstractContextManager[list[Tensor]]:
    """Keeps features of frames, of models that declare one."""
    feature = program.feature if isinstance(program, ModelProgram) and is_clip else None
    return nullcontext([]) if feature is None else feature.captured(model)


def raise_for(data: EvalSet, problems: Sequence[str]) -> None:
    """Refuse to score a set with pictures that could not be read.

    Raises:
        InputError: there are problems; all are listed.
    """
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise InputError(
            f"{len(problems)} of {len(data)} pictures of {data.name} cannot be read, and scores need all of "
            "them: nothing was scored. Replace these files and run the same command again; the rest is "
            f"kept.{listed}"
        )


def progress(total: int, what: str, *, is_shown: bool = True) -> Any:
    """A bar of `total` pictures, on a terminal."""
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise MissingDependencyError("the evaluation needs tqdm: pip install 'shared_tmu[eval]'.") from error
    return tqdm(total=total, desc=what, unit="img", disable=None if is_shown else True)
