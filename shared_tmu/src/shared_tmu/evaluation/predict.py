"""Predictions of every run on a set: each picture is read once, and finished chunks are kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from shared_tmu.datasets import EvalSet
from shared_tmu.errors import InputError, MissingDependencyError
from shared_tmu.evaluation.batches import Crops, collate, join, to_arrays
from shared_tmu.evaluation.masking import TOKENS, Counted, key_of, masks_of
from shared_tmu.evaluation.settings import EvalSettings
from shared_tmu.evaluation.store import Arrays, Chunk, RunFolder
from shared_tmu.programs.model_program import ModelProgram, Run, batch_mask

_log = logging.getLogger(__name__)


def predict_missing(
    program: ModelProgram,
    model: nn.Module,
    data: EvalSet,
    folders: Mapping[Run, RunFolder],
    chunks: Sequence[Chunk],
    settings: EvalSettings,
) -> None:
    """Predict every chunk that a run lacks.

    Args:
        folders: the runs, with the folders of their chunks.
        chunks: ranges that cover the set.

        Raises:
        InputError: pictures cannot be read; the message names all of them. Chunks without such pictures are
            kept.
    """
    needed = {chunk: [run for run in folders if folders[run].load(chunk) is None] for chunk in chunks}
    batches = [(c, rows) for c, runs in needed.items() if runs for rows in c.batches(settings.batch_size)]
    if not batches:
        return
    loader = DataLoader(
        Crops(data, masks_of(run for runs in needed.values() for run in runs)),
        batch_sampler=[list(rows) for _, rows in batches],
        num_workers=settings.num_workers,
        collate_fn=collate,
    )
    problems: dict[Chunk, list[str]] = {}
    parts: dict[Run, list[Arrays]] = {run: [] for run in folders}
    total = sum(len(rows) * len(needed[chunk]) for chunk, rows in batches)
    with _progress(total, f"{program.name} on {data.name}") as bar:
        for (chunk, rows), (batch, unreadable) in zip(batches, loader, strict=True):
            for problem in unreadable:
                _log.warning("%s", problem)
            problems.setdefault(chunk, []).extend(unreadable)
            on_device = {name: values.to(settings.device) for name, values in batch.items()}
            for run in needed[chunk] if not problems[chunk] else ():
                bar.set_postfix_str(run.label, refresh=False)
                parts[run].append(_predict(program, model, run, on_device, data.kept))
                bar.update(len(rows))
            if rows.stop == chunk.stop:
                for run in needed[chunk] if not problems[chunk] else ():
                    folders[run].save(chunk, join(parts[run]))
                parts = {run: [] for run in folders}
    _raise_for(data, [problem for found in problems.values() for problem in found])


def assemble(folder: RunFolder, chunks: Sequence[Chunk]) -> Arrays | None:
    """All predictions of a run, `[N, ...]` each; None if a chunk is missing."""
    parts = [folder.load(chunk) for chunk in chunks]
    there = [part for part in parts if part is not None]
    return join(there) if len(there) == len(parts) else None


@torch.inference_mode()
def _predict(
    program: ModelProgram, model: nn.Module, run: Run, batch: Mapping[str, Tensor], kept: Sequence[str]
) -> Arrays:
    pixels, counts = batch.get(key_of(run.mask)), None
    if run.masks:
        with run.shortened(program, model), run.patched(program, model) as handle:
            counted = Counted.of(batch_mask(handle, program, model, pixels, run.weight), run.weight)
            with handle.masked(counted):
                output = model(batch)
        counts = counted.found
    else:
        with run.applied(program, model):
            output = model(batch)
    found = to_arrays(output, batch, kept)
    if counts is not None:
        found[TOKENS] = np.asarray(counts.float().cpu().numpy())
    return found


def _raise_for(data: EvalSet, problems: Sequence[str]) -> None:
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise InputError(
            f"{len(problems)} of {len(data)} pictures of {data.name} cannot be read, and scores need all of "
            "them: nothing was scored. Replace these files and run the same command again; the rest is "
            f"kept.{listed}"
        )


def _progress(total: int, what: str) -> Any:
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise MissingDependencyError("the evaluation needs tqdm: pip install 'shared_tmu[eval]'.") from error
    return tqdm(total=total, desc=what, unit="img", disable=None)
