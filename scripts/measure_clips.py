"""Publish errors of clips: with the model's head, the temporal decoder and filters, each beside the others.

    cd HaMeR_TMU
    python eval.py --dataset synthhand-clips --r off,8x16 --mask none,box --plans free,held --rounds 0 \\
        --decoder none,diffusion --smooth none,one-euro,one-euro-both,savgol
    cd .. && python scripts/measure_clips.py --model hamer

Masks beside each other, `previous` among them, which only clips have:

    cd HaMeR_TMU
    python eval.py --dataset synthhand-clips --r off,8x16,12x8+6x8 --rounds 0 --results results/clip_masks \\
        --mask none,box,previous,previous+box,probe,truth
    cd .. && python scripts/measure_clips.py --model hamer --masks --results HaMeR_TMU/results/clip_masks

Writes `assets/<model>_clips.jsonl`, or `assets/<model>_clip_masks.jsonl`, from the results that eval.py left,
and fills the tables of the READMEs. Frames of one clip are alike, so intervals are those of means over clips,
drawn with replacement.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import update_tables
from bundled import BUNDLED, Bundled
from clip_tables import RIVALS
from numpy.typing import NDArray

from shared_tmu.errors import MissingAssetError
from shared_tmu.evaluation.per_sample import read_per_sample
from shared_tmu.files import write_text
from shared_tmu.metrics.bootstrap import bootstrap_interval
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import named_path
from shared_tmu.programs.identity import file_sha256
from shared_tmu.programs.results import read_records

ERRORS = ("mpjpe_mm", "pa_mpjpe_mm", "accel_error_mm", "jitter_mm")
KEPT = (
    "model", "dataset", "label", "schedule", "method", "mask", "hold", "smooth", "clips", "n",
    "true_jitter_mm", "machine", "commit", "checkpoint", "checkpoint_sha256", *ERRORS,
)  # fmt: skip


OF_MASKS = ("mask_weight", "mask_tokens", "mask_missing", "mask_share", "mask_share_quartiles", "tokens_kept")
"""What lines of masks have besides."""


def clip_means(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Means over the frames of every clip, by error; a sample's name begins with that of its clip."""
    rows = read_per_sample(folder)
    clips = np.array([name.split("-")[0] for name in rows.samples])
    return {
        error: np.array([np.nanmean(rows.errors[error][clips == clip]) for clip in np.unique(clips)])
        for error in ERRORS
    }


def filtered(record: Mapping[str, Any], records: Sequence[Mapping[str, Any]], smooth: str) -> str | None:
    """The label of the same run with the model's head and this filter; None for that run itself."""
    if record["decoder"] is None and record["smooth"] == smooth:
        return None
    same = ("schedule", "method", "mask", "hold", "unmerge", "restore", "protect")
    found = [
        one["label"]
        for one in records
        if one["decoder"] is None and one["smooth"] == smooth and all(one[k] == record[k] for k in same)
    ]
    return found[0] if found else None


def newest_records(results: Path, model: Bundled) -> dict[str, dict[str, Any]]:
    """The last record of every run, by label: of the bundled weights on all clips, in one state of the set.

    Raises:
        MissingAssetError: eval.py has left no such results.
    """
    path, weights = results / f"{model.name.lower()}-synthhand-clips.jsonl", file_sha256(model.checkpoint)
    records = read_records(path)
    own = [one for one in records if one["checkpoint_sha256"] == weights]
    whole = [one for one in own if one.get("limit") is None or one["n"] == one.get("n_official")]
    kept = [one for one in whole if one.get("dataset_sha256") == whole[-1].get("dataset_sha256")]
    left = {
        "of other weights": len(records) - len(own),
        "on a part of the clips": len(own) - len(whole),
        "on other clips": len(whole) - len(kept),
    }
    shown = ", ".join(f"{count} {why}" for why, count in left.items() if count)
    if not kept:
        raise MissingAssetError(
            f"{path} has no results of the present {model.weights} on all clips"
            f"{f' (lines left out: {shown})' if shown else ''}: run eval.py --dataset synthhand-clips first."
        )
    if shown:
        sys.stderr.write(f"{path}: lines left out: {shown}.\n")
    return {record["label"]: record for record in kept}


def mask_lines(results: Path, model: Bundled) -> list[dict[str, Any]]:
    """One line per schedule and mask, frame by frame with the model's head: its errors, and their differences
    from the unpatched model.

    Raises:
        MissingAssetError: eval.py has left no results, or none of the unpatched model.
    """
    newest = newest_records(results, model)
    if "off" not in newest:
        raise MissingAssetError(f"{results} has no result of --r off, from which differences are taken.")
    plain = [
        one
        for one in newest.values()
        if one["decoder"] is None and one["smooth"] == "none" and not one["hold"]
    ]
    base, lines = clip_means(results / newest["off"]["files"]), []
    for record in plain:
        means = clip_means(results / record["files"])
        line = {"kind": "clip_masks", **{name: record[name] for name in (*KEPT, *OF_MASKS)}}
        for error in ERRORS if record["label"] != "off" else ():
            gap = means[error] - base[error]
            line[f"{error}_minus_off"] = [float(gap.mean()), *bootstrap_interval(gap)]
        lines.append({**line, "true_jitter_mm": round(record["true_jitter_mm"], 3)})
    schedules = list(dict.fromkeys(line["schedule"] for line in lines))
    return sorted(lines, key=lambda line: (line["schedule"] != "off", schedules.index(line["schedule"])))


def lines_of(results: Path, model: Bundled) -> list[dict[str, Any]]:
    """One line per run: its errors, and their differences from the same run frame by frame and, for the
    decoder, with filters.

    Raises:
        MissingAssetError: eval.py has left no results.
    """
    newest = newest_records(results, model)
    means = {label: clip_means(results / record["files"]) for label, record in newest.items()}
    lines = []
    for label, record in newest.items():
        line = {"kind": "clips", **{name: record[name] for name in KEPT}}
        line["decoder"] = "none" if record["decoder"] is None else "diffusion"
        others = {"frames": "none"} if record["decoder"] is None else {"frames": "none", **RIVALS}
        for name, smooth in others.items():
            base = filtered(record, list(newest.values()), smooth)
            for error in ERRORS if base is not None else ():
                gap = means[label][error] - means[base][error]
                line[f"{error}_minus_{name}"] = [float(gap.mean()), *bootstrap_interval(gap)]
        lines.append({**line, "true_jitter_mm": round(record["true_jitter_mm"], 3)})
    return sorted(lines, key=_place)


def _place(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """Runs that differ in decoder and filter only stand together."""
    return line["schedule"] != "off", line["mask"], line["hold"], line["decoder"] != "none", line["smooth"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish as the command line says; returns the exit status."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--model", choices=BUNDLED, required=True, help="which of the bundled models")
    parser.add_argument("--results", type=named_path, help="folder of results; default: the model folder's")
    parser.add_argument("--masks", action="store_true", help="masks beside each other instead of filters")
    given = parser.parse_args(arguments)
    model, find = BUNDLED[given.model], mask_lines if given.masks else lines_of
    lines = find(given.results or model.folder / "results", model)
    published = model.lines("clip_masks" if given.masks else "clips")
    write_text(published, "".join(json.dumps(line) + "\n" for line in lines))
    return update_tables.main([])


if __name__ == "__main__":
    sys.exit(run_program(lambda: main(), "Interrupted."))
