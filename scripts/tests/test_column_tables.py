"""What controls differ by from TMU: told by measure_columns.py in pairs, shown in one table for each set."""

from pathlib import Path
from typing import Any

import measure_columns
import numpy as np
import pytest
from column_tables import show_controls

from shared_tmu.evaluation.per_sample import PerSample, write_per_sample

COUNT = 40
WAYS = {"tome": ("tome", True), "merged": ("tome", False), "random": ("random", True)}


def line(
    schedule: str, way: str, errors: dict[str, np.ndarray], dataset: str = "synthhand"
) -> dict[str, Any]:
    method, unmerge = WAYS[way]
    means = {name: float(values.mean()) for name, values in errors.items()}
    return {
        **{
            "model": "Toy",
            "dataset": dataset,
            "dtype": "float32",
            "weights_sha256": "w",
            "dataset_sha256": "d",
        },
        **{"schedule": schedule, "method": method, "unmerge": unmerge, "tokens_kept": 9, "n": COUNT},
        **{"files": f"synthhand-{schedule}-{way}", "stability_mm": 4.0, **means},
    }


@pytest.fixture
def runs(tmp_path: Path) -> list[dict[str, Any]]:
    """TMU errs by 1 mm more than `off`, merge-only like TMU but for noise, random pairs by 5 mm more."""
    rng = np.random.default_rng(0)
    base = {"pa_mpvpe_mm": rng.normal(20.0, 5.0, COUNT), "box_overlap_pct": rng.normal(70.0, 5.0, COUNT)}
    found = []
    for schedule, way, worse, noise in (
        *(("off", "tome", 0.0, 0.0), ("8x16", "tome", 1.0, 0.0), ("5x20", "tome", 1.0, 0.0)),
        *(("8x16", "merged", 1.0, 1.0), ("5x20", "merged", 2.0, 0.1), ("8x16", "random", 6.0, 0.1)),
    ):
        errors = {
            "pa_mpvpe_mm": base["pa_mpvpe_mm"] + worse + noise * rng.permutation(np.linspace(-1, 1, COUNT)),
            "box_overlap_pct": base["box_overlap_pct"] - worse,
        }
        run = line(schedule, way, errors)
        samples = tuple(f"{index}.png" for index in range(COUNT))
        about = {"dataset": "synthhand", "dataset_sha256": "d"}
        write_per_sample(tmp_path / run["files"], PerSample(samples, samples, errors, about))
        found.append(run)
    return found


def test_differences_are_those_of_pairs_and_only_where_both_were_measured(runs, tmp_path):
    told = {
        run["schedule"]: run["controls"]
        for run in measure_columns.with_controls(runs, tmp_path)
        if "controls" in run
    }
    assert list(told) == ["8x16", "5x20"]
    assert set(told["5x20"]) == {"merge-only"}
    same, random = told["8x16"]["merge-only"], told["8x16"]["random pairs"]
    assert same["pa_mpvpe_mm"]["verdict"] == "within noise"
    assert same["pa_mpvpe_mm"]["low"] < 0 < same["pa_mpvpe_mm"]["high"]
    assert random["pa_mpvpe_mm"]["verdict"] == random["box_overlap_pct"]["verdict"] == "worse"
    assert random["pa_mpvpe_mm"]["minus"] == pytest.approx(5.0, abs=0.2)
    assert random["box_overlap_pct"]["minus"] == pytest.approx(-5.0)
    unpaired = np.hypot(5.0, 5.0) / np.sqrt(COUNT)  # what the errors' own spread would give
    assert random["pa_mpvpe_mm"]["high"] - random["pa_mpvpe_mm"]["low"] < unpaired


def test_errors_of_samples_that_are_gone_leave_a_line_without_differences(runs, tmp_path):
    (tmp_path / "synthhand-8x16-random" / "per_sample.parquet").write_bytes(b"torn")
    told = [run for run in measure_columns.with_controls(runs, tmp_path) if run["schedule"] == "8x16"]
    assert told[0]["controls"]["random pairs"] == {}
    assert told[0]["controls"]["merge-only"]


def test_a_table_for_each_set_says_what_the_differences_mean(runs, tmp_path):
    text = show_controls(measure_columns.with_controls(runs, tmp_path))
    shown = [row for row in text.splitlines() if row.startswith("| ")]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in shown]
    rows = {name: rest for name, *rest in cells}
    assert next(iter(rows)) == "on synthhand"
    aligned = rows["PA-MPVPE in mm"]
    assert aligned[2].endswith("*may be 0*)")
    assert aligned[3] == "worse 1, within noise 1"
    assert aligned[5] == "worse 1"
    assert rows["jump per pixel of box movement in mm"][2:] == ["+0.00", "", "+0.00", ""]
    assert "Toy, 40 samples, in pairs" in text


def test_lines_without_differences_are_refused(runs):
    with pytest.raises(ValueError, match="no line of TMU at 8x16 has differences"):
        show_controls(runs)
