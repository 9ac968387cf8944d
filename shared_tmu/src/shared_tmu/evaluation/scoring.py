"""Scores of one run on one set, and the files that it leaves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared_tmu.datasets import EvalSet, set_sha256
from shared_tmu.datasets.base import Placed, group_numbers
from shared_tmu.evaluation.per_sample import PerSample, means, write_per_sample
from shared_tmu.files import printable, write_text


def score_run(
    data: EvalSet, placed: Placed, folder: Path, about: Mapping[str, Any], *, keep: bool = True
) -> dict[str, Any]:
    """Score predictions, and write `scores.txt`, `scores.json` and `per_sample.parquet`.

    Args:
        data: the set.
        placed: its predictions.
        folder: folder of the run.
        about: what the run was, for `PerSample`.
        keep: write the predictions, too.

    Returns:
        The numbers of a result line; None for those that are undefined, whose names are in `undefined` if
        there are any.

    Raises:
        InputError: predictions that must not enter a mean.
    """
    scores, posture = data.score(placed), data.posture(placed)
    predictions = data.write_predictions(placed, folder).name if keep else None
    write_text(folder / "scores.txt", scores.scores_txt())
    write_text(folder / "scores.json", json.dumps(_plain(scores.as_dict()), allow_nan=False))
    facts: dict[str, Any] = {"dataset": data.name, "dataset_sha256": set_sha256(data)}
    facts |= {"predictions": predictions, "read": dict(data.facts), **about}
    names = tuple(printable(path.name) for path in data.images)
    errors = {**scores.per_sample, **posture}
    write_per_sample(folder, PerSample(data.sample_ids, names, errors, facts, group_numbers(data.groups)))
    numbers = {**scores.headline, **means(posture)}
    unknown = sorted(name for name, value in numbers.items() if math.isnan(value))
    told = {"undefined": unknown} if unknown else {}
    return {**_plain(numbers), **told, "scores_txt": _plain(scores.official())}


def _plain(content: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(content, Mapping):
        return {name: _plain(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_plain(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content
