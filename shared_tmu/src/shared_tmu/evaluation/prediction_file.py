"""Scores a prediction file that already exists, from this program or any other: `eval.py --predictions`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from shared_tmu.datasets import open_dataset
from shared_tmu.errors import InputError
from shared_tmu.evaluation.report import columns_of, shown_value
from shared_tmu.evaluation.scoring import score_run
from shared_tmu.evaluation.settings import EvalSettings
from shared_tmu.programs.identity import file_sha256


def score_prediction_file(path: Path, model: str, settings: EvalSettings) -> int:
    """Score a file on one set, print its table, and keep scores and per-sample errors; no model is loaded.

    Args:
        path: in the format of the set's own prediction file.
        model: whose results folder it goes to.
        settings: name the set.

    Raises:
        TMUError: the set cannot be opened, or the file is none of its prediction files.
    """
    if len(settings.datasets) != 1 or settings.limit:
        raise InputError(
            "--predictions is scored on all samples of one --dataset: leave out other sets, and --limit."
        )
    (name,) = settings.datasets
    data = open_dataset(name, settings.data_dir, settings.set_options())
    placed = data.read_predictions(path)
    digest = file_sha256(path)
    label = re.sub(r"[^\w.+@ -]", "_", path.stem)
    folder = settings.results / f"{model}-{data.name}".lower() / f"{label}-{digest[:10]}"
    about = {"model": path.name, "label": path.name, "predictions_sha256": digest}
    found = score_run(data, placed, folder, about, keep=False)
    shown = columns_of(data, [found], settings.columns)
    rows = [(title, shown_value(found, key, form)) for title, key, form in shown]
    if not rows:
        raise InputError(
            f"{data.name}'s prediction file holds none of the errors of --columns {settings.columns}: use "
            "--columns published."
        )
    width = max(len(title) for title, _ in rows)
    table = "".join(f"{title:{width}}  {value:>10}\n" for title, value in rows)
    sys.stdout.write(f"\n{path.name} on {data.name}, {len(data)} samples\n\n{table}\nScores: {folder}\n")
    return 0
