"""plot_protection.py: a figure from result lines of both kinds, and a sentence where one is missing."""

import json
from pathlib import Path

import plot_protection
import pytest

from shared_tmu.errors import InputError
from shared_tmu.viz.protection import read_protection, read_published_protection


def write_lines(path: Path, protections: tuple[str, ...] = ("first", "last")) -> Path:
    shared = {"model": "WiLoR", "dataset": "synthhand", "method": "tome", "unmerge": True}
    lines = [{**shared, "schedule": "off", "protect": "first", "pa_mpvpe_mm": 20.0}]
    for protect in protections:
        step = 0.1 if protect == "first" else 1.0
        for r in (2, 1):
            lines.append({**shared, "schedule": str(r), "protect": protect, "pa_mpvpe_mm": 20 + step * r})
    lines.append({**shared, "schedule": "5x20", "protect": "first", "pa_mpvpe_mm": 99.0})
    lines.append({**shared, "schedule": "1", "protect": "first", "pa_mpvpe_mm": 99.0, "unmerge": False})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_figure_with_the_published_curve(tmp_path, capsys):
    results, out = write_lines(tmp_path / "results.jsonl"), tmp_path / "plot.svg"
    assert plot_protection.main([str(results), "--published", "WiLoR", "--out", str(out)]) == 0
    assert out.read_text().startswith("<?xml")
    assert capsys.readouterr().out.strip() == str(out)


def test_a_panel_for_each_error(tmp_path):
    results, out = write_lines(tmp_path / "results.jsonl"), tmp_path / "plot.svg"
    text = results.read_text()
    results.write_text(text.replace('"pa_mpvpe_mm"', '"pa_mpvpe_hand_mm": 3.0, "pa_mpvpe_mm"'))
    assert plot_protection.main([str(results), "--metric", "pa_mpvpe_mm", "--out", str(out)]) == 0
    alone = out.stat().st_size
    metrics = "pa_mpvpe_mm,pa_mpvpe_hand_mm"
    assert plot_protection.main([str(results), "--metric", metrics, "--out", str(out)]) == 0
    assert out.stat().st_size > 1.3 * alone
    assert plot_protection.main([str(results), "--metric", ","]) == 1


def test_curves_start_at_off_and_hold_constant_schedules_only(tmp_path):
    curves = read_protection([write_lines(tmp_path / "results.jsonl")])
    assert curves == {
        "WiLoR on synthhand, protect first": [(0, 20.0), (1, 20.1), (2, 20.2)],
        "WiLoR on synthhand, protect last": [(0, 20.0), (1, 21.0), (2, 22.0)],
    }
    (published,) = read_published_protection(plot_protection.PUBLISHED, "WiLoR").values()
    assert [r for r, _ in published] == [0, 1, 2, 3, 4]
    assert published[0][1] < published[1][1]


def test_what_is_missing_is_said(tmp_path, capsys):
    assert plot_protection.main([str(write_lines(tmp_path / "a.jsonl", ("first",)))]) == 1
    assert "needs --r off,1,2,... with --protect first,last" in capsys.readouterr().err
    with pytest.raises(InputError, match="has no mpjpe_cm"):
        read_protection([write_lines(tmp_path / "b.jsonl")], "mpjpe_cm")
    assert plot_protection.main([str(tmp_path / "none.jsonl")]) == 1
    assert "no lines with a constant r" in capsys.readouterr().err
