"""Compare two runs of eval.py in pairs: what differs, by how much, whether it is more than noise, and where.

    python scripts/compare.py RUN_A RUN_B               # folders of runs ("files" in a result line)
    python scripts/compare.py A.parquet B.parquet --metric wrist_mpvpe_mm --worst 12 --out comparison

Every error that both runs have is compared on the same samples: mean difference B - A, its 95 % bootstrap
interval over groups of samples (the hands of a picture, the frames of a clip), and a verdict: `within noise`
if the interval holds 0, and `equal` if not one sample differs (a control). The samples on
which B loses most are listed, and drawn with the truth (grey), A (blue) and B (vermilion).
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared_tmu.datasets import DATASETS, EvalSet, SetOptions, open_dataset
from shared_tmu.datasets.base import Placed
from shared_tmu.errors import InputError, TMUError
from shared_tmu.evaluation.comparing import Difference, compare_runs, paired, read_otherwise, worst_samples
from shared_tmu.evaluation.per_sample import PerSample, read_per_sample
from shared_tmu.evaluation.worst import FIRST, SECOND, Shown, draw_worst
from shared_tmu.files import replacing, write_text
from shared_tmu.pictures.panels import encode
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import FlagParser, named_path, natural

_OUT = Path("results") / "comparison"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ComparedRun:
    """A run from the command line.

    Args:
        folder: where its files lie.
        rows: its errors.
    """

    folder: Path
    rows: PerSample

    @classmethod
    def read(cls, path: Path) -> ComparedRun:
        """From its folder or its file of errors; see `read_per_sample`."""
        rows = read_per_sample(path)
        return cls(path if path.is_dir() else path.parent, rows)

    @property
    def label(self) -> str:
        """As tables call it."""
        return str(self.rows.about.get("label", self.folder.name))

    @property
    def title(self) -> str:
        """What it was, in a line."""
        about = self.rows.about
        weights = f" ({about['checkpoint']})" if about.get("checkpoint") else ""
        return f"{about.get('model')} {self.label}{weights}"

    def predictions(self, data: EvalSet) -> Placed | None:
        """Of its samples; None if they were not kept."""
        name = self.rows.about.get("predictions")
        return None if name is None else data.read_predictions(self.folder / str(name))


def main(arguments: Sequence[str] | None = None, data_dir: Path = Path("data")) -> int:
    """Run a command line; 0 if everything asked for was done."""
    return run_program(lambda: _run(_parse(arguments, data_dir)))


def _parse(arguments: Sequence[str] | None, data_dir: Path) -> argparse.Namespace:
    parser = FlagParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=named_path, metavar="A", help="a run: its folder or per_sample.parquet")
    parser.add_argument("b", type=named_path, metavar="B", help="the run that is compared with it")
    parser.add_argument("--metric", help="error by which samples are sorted; default: the set's first")
    parser.add_argument(
        "--worst", type=natural, default=8, help="number of samples to list and draw; default 8"
    )
    parser.add_argument("--out", type=named_path, default=_OUT, help=f"folder; default {_OUT}")
    parser.add_argument(
        "--data_dir",
        type=named_path,
        help=f"folder of datasets, for the pictures; default: where A found them, or {data_dir}",
    )
    parser.add_argument("--smplx_path", dest="body_path", type=named_path, help="body model that EHF needs")
    parser.set_defaults(otherwise=data_dir)
    return parser.parse_args(arguments)


def _run(given: argparse.Namespace) -> int:
    a, b = ComparedRun.read(given.a), ComparedRun.read(given.b)
    found = {difference.name: difference for difference in compare_runs(a.rows, b.rows)}
    metric = given.metric or _first_metric(a.rows, found)
    if metric not in found:
        raise InputError(f"--metric {metric} is not an error of both runs: use one of {', '.join(found)}.")
    worst = worst_samples(a.rows, b.rows, metric, given.worst)
    values = paired(a.rows, b.rows, metric)
    table = {
        "a": dict(a.rows.about),
        "b": dict(b.rows.about),
        "metric": metric,
        "differences": [difference.as_dict() for difference in found.values()],
        "worst": [
            {"sample": a.rows.samples[i], "a": float(values[0][i]), "b": float(values[1][i])} for i in worst
        ],
    }
    write_text(given.out / "comparison.json", json.dumps(table, indent=1, allow_nan=False) + "\n")
    sys.stdout.write(_text(a, b, list(found.values()), found[metric], worst, values))
    sys.stdout.write(f"\nNumbers: {given.out / 'comparison.json'}\n")
    if not worst:
        return 0
    try:
        sheet = _draw(a, b, metric, worst, given)
    except TMUError as error:
        _log.error("No pictures: %s (--worst 0 draws none.)", error)
        return 1
    with replacing(given.out / "worst.png") as beside:
        beside.write_bytes(encode(sheet, ".png"))
    sys.stdout.write(f"Pictures: {given.out / 'worst.png'}\n")
    return 0


def _first_metric(rows: PerSample, found: dict[str, Difference]) -> str:
    """The one that papers print first, where samples have it."""
    return next((name for name in rows.errors if name in found), "")


def _draw(
    a: ComparedRun, b: ComparedRun, metric: str, worst: Sequence[int], given: argparse.Namespace
) -> NDArray[np.uint8]:
    name = str(a.rows.about.get("dataset"))
    if name not in DATASETS:
        raise InputError(f"there is no dataset {name!r} here.")
    folder = given.data_dir or _own_data_dir(a) or given.otherwise
    data = open_dataset(name, folder, SetOptions(body_path=given.body_path)).head(len(a.rows.samples))
    if data.sample_ids != a.rows.samples:
        raise InputError(f"{name} in {folder} has other samples than these runs: name another --data_dir.")
    left, right = paired(a.rows, b.rows, metric)
    sides = (
        Shown(a.label, a.predictions(data), left, FIRST),
        Shown(b.label, b.predictions(data), right, SECOND),
    )
    return draw_worst(data, worst, sides)


def _own_data_dir(run: ComparedRun) -> Path | None:
    """Where the run found its set; None if it does not say, or that folder is gone."""
    told = run.rows.about.get("data_dir")
    return Path(told) if told and Path(told).is_dir() else None


def _text(
    a: ComparedRun,
    b: ComparedRun,
    found: Sequence[Difference],
    chosen: Difference,
    worst: Sequence[int],
    values: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> str:
    lines = [
        f"A: {a.title}",
        f"B: {b.title}",
        f"{a.rows.about.get('dataset')}, {len(a.rows.samples)} samples",
        *(
            f"The set was read with another {name}: {first} for A, {second} for B."
            for name, (first, second) in read_otherwise(a.rows, b.rows).items()
        ),
        "",
    ]
    title = ("error", "A", "B", "B - A", "95 % interval", "B is")
    rows = [title, *(_row(difference) for difference in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(title))]
    lines += [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines += ["", _sentence(chosen)]
    if worst:
        lines += ["", f"Samples on which B loses most by {chosen.name}:"]
        lines += [f"  {a.rows.samples[i]}  {values[0][i]:.3f} -> {values[1][i]:.3f}" for i in worst]
    return "\n".join(lines) + "\n"


def _row(difference: Difference) -> tuple[str, ...]:
    d = difference
    interval = "" if d.low is None else f"{d.low:+.4f} to {d.high:+.4f}"
    return d.name, f"{d.a:.4f}", f"{d.b:.4f}", f"{d.minus:+.4f}", interval, d.verdict


def _sentence(d: Difference) -> str:
    on = f"on {d.n} samples" + (f" in {d.groups} groups" if 1 < d.groups < d.n else "")
    if d.verdict == "equal":
        return f"A and B are equal in {d.name} {on}."
    if d.low is None:
        return (
            f"B - A is {d.minus:+.4f} in {d.name} {on}, all of one group: whether others differ as much is "
            "unknown."
        )
    interval = f"{on} the interval of B - A"
    if d.verdict == "within noise":
        return (
            f"The difference in {d.name} is within noise: {interval}, {d.low:+.4f} to {d.high:+.4f}, holds 0."
        )
    is_what = "differs" if d.verdict == "differs" else f"is {d.verdict}"
    return (
        f"B {is_what} in {d.name} by {abs(d.minus):.4f}, which is more than noise: {interval} is "
        f"{d.low:+.4f} to {d.high:+.4f}."
    )
