"""plot_merging.py: panels from result lines, their bands, and a sentence where something is missing."""

import json
from pathlib import Path
from typing import Any

import plot_merging
import pytest
from comparison import arrange_runs
from test_comparison import CONTROLS, TMU


def write(folder: Path, *groups: list[dict[str, Any]]) -> list[str]:
    paths = []
    for number, group in enumerate(groups):
        path = folder / f"{number}.jsonl"
        path.write_text("".join(json.dumps(run) + "\n" for run in group))
        paths.append(str(path))
    return paths


def test_a_figure_with_a_panel_for_each_error_and_the_published_rise(tmp_path, capsys):
    out = tmp_path / "plot.svg"
    assert plot_merging.main([*write(tmp_path, TMU, CONTROLS), "--published", "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert out.read_text().count('<g id="axes_') == 4
    assert plot_merging.main([*write(tmp_path, TMU), "--out", str(out)]) == 0
    assert out.read_text().count('<g id="axes_') == 4  # three, and an empty place


def test_lines_stand_at_the_errors_and_bands_at_the_paired_differences():
    panel = plot_merging.absolute_panel(arrange_runs(TMU + CONTROLS), "pa_mpvpe_mm")
    assert (panel.level, panel.level_interval) == (60.0, (58.0, 62.0))
    assert list(panel.lines) == ["TMU", "merge-only", "protect last", "random pairs"]
    assert panel.lines["TMU"].values == {"1": 60.5, "5x20": 62.0}
    assert panel.lines["TMU"].intervals == {"1": (59.75, 61.0)}


def test_the_published_rise_is_in_per_cent_of_its_own_off():
    published = {"off": 40.0, "1": 41.0, "8x16": 50.0, "4": 99.0}
    panel = plot_merging.relative_panel(arrange_runs(TMU + CONTROLS), published)
    assert panel.lines["published"].values == pytest.approx({"1": 2.5, "8x16": 25.0})
    assert panel.lines["TMU"].values["5x20"] == pytest.approx(100 * 2 / 60)
    assert "random pairs" not in panel.lines


def test_photographs_have_the_mean_hand_beside_them():
    shared = {name: TMU[0][name] for name in ("model", "method", "unmerge", "protect", "dtype", "checkpoint")}
    runs = [
        {**shared, "dataset": "photos", "n": 9, "schedule": schedule, "tokens_kept": 92, "pck_20": pck}
        for schedule, pck in (("off", 0.5), ("5x20", 0.25))
    ]
    runs[0]["mean_hand_pck_20"] = 0.125
    panel = plot_merging.absolute_panel(arrange_runs(runs), "pck_20")
    assert panel.control == ("mean hand in the same boxes", 0.125)
    assert panel.lines["TMU"].values == {"5x20": 0.25}


def test_what_is_missing_is_said(tmp_path, capsys):
    assert plot_merging.main(write(tmp_path, TMU[1:])) == 1
    assert "needs the unpatched model" in capsys.readouterr().err
    assert (
        plot_merging.main([*write(tmp_path, [{**run, "model": "Nobody"} for run in TMU]), "--published"]) == 1
    )
    assert "has nothing to compare with" in capsys.readouterr().err
    assert plot_merging.main([str(tmp_path / "none.jsonl")]) == 1
    assert "one model on one set" in capsys.readouterr().err
