"""Curves from result lines, from the published table, and the figure."""

import json
from pathlib import Path

import numpy as np
import pytest

from shared_tmu.errors import InputError
from shared_tmu.metrics.bootstrap import bootstrap_interval
from shared_tmu.viz.tradeoff import draw_tradeoff, read_published, read_results, relative_to_off

BASE = {
    "model": "HaMeR", "dataset": "synthhand", "device": "cpu", "dtype": "float32", "batch_size": 16, "n": 50,
    "weights_sha256": "0", "machine": {"processor": "x"}, "method": "tome", "unmerge": True,
}  # fmt: skip


def write_lines(folder, rows):
    with (folder / "results.jsonl").open("w") as file:
        for row in rows:
            record = {**BASE, "files": f"runs/{row['schedule']}", **row}
            file.write(json.dumps(record) + "\n")
    return folder / "results.jsonl"


def off(**more):
    return {"schedule": "off", "speedup": 1.0, "pa_mpvpe_mm": 10.0, **more}


def test_one_curve_per_method_each_from_off_and_the_last_line_counts(tmp_path):
    path = write_lines(
        tmp_path,
        [
            {"schedule": "10x16", "speedup": 1.9, "pa_mpvpe_mm": 11.0},
            off(),
            {"schedule": "5x20", "speedup": 1.1, "pa_mpvpe_mm": 99.0},
            {"schedule": "5x20", "speedup": 1.4, "pa_mpvpe_mm": 10.2},
            {"schedule": "5x20", "speedup": 1.4, "pa_mpvpe_mm": 12.0, "method": "random"},
            {"schedule": "8x16", "speedup": None, "pa_mpvpe_mm": 10.5},
            {"schedule": "5x20", "speedup": 1.4, "pa_mpvpe_mm": 10.4, "unmerge": False},
        ],
    )
    curves = read_results([path])
    assert {name.rpartition("), ")[2]: [p.schedule for p in points] for name, points in curves.items()} == {
        "tome": ["off", "5x20", "10x16"],
        "random": ["off", "5x20"],
        "tome, merge-only": ["off", "5x20"],
    }
    assert next(iter(curves.values()))[1].error_mm == 10.2


def test_intervals_are_of_paired_differences(tmp_path):
    merged = {"schedule": "5x20", "speedup": 1.4, "pa_mpvpe_mm": 11.0}
    interval = {"minus_off_interval_95": {"pa_mpvpe_mm": [0.75, 1.5]}}
    path = write_lines(tmp_path, [off(), {**merged, **interval}, {**merged, "schedule": "1", "speedup": 1.5}])
    (points,) = read_results([path]).values()
    assert [p.interval_mm for p in points] == [None, (10.75, 11.5), None]


def test_bootstrap_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        low, high = bootstrap_interval(rng.normal(3.0, 2.0, size=60), draws=300, seed=trial)
        hits += low <= 3.0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_nothing_to_plot(tmp_path):
    with pytest.raises(InputError, match=r"no timed results in .*missing\.jsonl"):
        read_results([tmp_path / "missing.jsonl"])
    path = write_lines(tmp_path, [{"schedule": "5x20", "speedup": 1.4, "pa_mpvpe_mm": 11.0}])
    with pytest.raises(InputError, match="no line for 'off'"):
        read_results([path])


def test_the_published_table():
    table = Path(__file__).resolve().parents[3] / "assets" / "thesis_curves.csv"
    (points,) = read_published(table, "HaMeR").values()
    assert len(points) == 14
    moved = {p.schedule: p for p in relative_to_off(points)}
    assert moved["off"].error_mm == 0
    assert moved["off"].speedup == 1
    assert moved["5x20"].error_mm == pytest.approx(0.037)
    assert moved["5x20"].speedup == pytest.approx(182.10 / 125.42)
    with pytest.raises(InputError, match="no points of Nobody"):
        read_published(table, "Nobody")


@pytest.mark.parametrize("absolute", [False, True])
def test_the_figure(tmp_path, absolute):
    path = write_lines(tmp_path, [off(), {"schedule": "5x20", "speedup": 1.4, "pa_mpvpe_mm": 11.0}])
    draw_tradeoff(read_results([path]), tmp_path / "new" / "figure.svg", absolute=absolute)
    text = (tmp_path / "new" / "figure.svg").read_text()
    assert "</svg>" in text
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["figure.svg"]
