"""Panels from result lines, their bands, and a sentence where something is missing."""

import json

import pytest
from comparison import arrange_runs
from figure_checks import clipped
from figure_parts import merging, sources, style
from test_comparison import CONTROLS, TMU

from shared_tmu.errors import InputError


def test_a_figure_with_a_panel_for_each_error_and_the_published_rise():
    with style.styled():
        figure = merging.draw_grid(arrange_runs(TMU + CONTROLS), {"off": 40.0, "1": 41.0, "8x16": 50.0})
        assert clipped(figure) == []
        assert len(figure.axes) == 4
        assert len(merging.draw_grid(arrange_runs(TMU), {}).axes) == 3


def test_lines_stand_at_the_errors_and_bands_at_the_paired_differences():
    panel = merging.absolute_panel(arrange_runs(TMU + CONTROLS), "pa_mpvpe_mm", "PA-MPVPE")
    assert (panel.level, panel.level_interval) == (60.0, (58.0, 62.0))
    assert list(panel.lines) == ["TMU", "merge-only", "protect last", "random pairs"]
    assert panel.lines["TMU"].values == {"1": 60.5, "5x20": 62.0}
    assert panel.lines["TMU"].intervals == {"1": (59.75, 61.0)}


def test_the_published_rise_is_in_per_cent_of_its_own_off():
    published = {"off": 40.0, "1": 41.0, "8x16": 50.0, "4": 99.0}
    panel = merging.relative_panel(arrange_runs(TMU + CONTROLS), published)
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
    panel = merging.absolute_panel(arrange_runs(runs), "pck_20", "PCK")
    assert panel.control == ("mean hand in the same boxes", 0.125)
    assert panel.lines["TMU"].values == {"5x20": 0.25}


def test_what_is_missing_is_said(tmp_path):
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(run) + "\n" for run in TMU[1:]))
    with pytest.raises(InputError, match=r"runs\.jsonl: .*needs the unpatched model"):
        sources.grid_of(tmp_path, ["runs.jsonl"])
    with pytest.raises(InputError, match="one model on one set"):
        sources.grid_of(tmp_path, ["none.jsonl"])
