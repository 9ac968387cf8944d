"""Ways of merging together: schedules for fewer layers, commands, which runs are named, the figure."""

import json

import measure_together
import pytest
import together
from bundled import BUNDLED, REPOSITORY
from figure_checks import clipped
from figure_parts import style
from figure_parts import together as drawing
from layer_tables import LAYER_TABLES

from shared_tmu.errors import InputError
from shared_tmu.method_parts.protection import WEIGHT
from shared_tmu.programs.identity import file_sha256
from shared_tmu.programs.results import read_records
from shared_tmu.schedule import Schedule

PUBLISHED = REPOSITORY / "assets" / "fasthmr_published.jsonl"


@pytest.mark.parametrize(("schedule", "depth"), [("8x16", 9), ("5x20", 26), ("12x8+6x8", 8), ("10x16", 31)])
def test_fewer_layers_leave_as_many_tokens_after_the_same_share_of_the_depth(schedule, depth):
    whole = Schedule.parse(schedule).per_layer(32)
    short = Schedule.parse(together.scaled(schedule, depth, 32)).per_layer(depth)
    assert sum(short) == sum(whole)
    for layer in range(depth + 1):
        assert sum(short[:layer]) == sum(whole[: layer * 32 // depth])


def line(schedule, error, *, mask="none", layers=None, label=None):
    return {
        **{"model": "HaMeR", "dataset": "synthhand", "n": 9, "schedule": schedule, "mask": mask},
        **{"label": label or f"{schedule}-{mask}-{bool(layers)}", "pa_mpvpe_mm": error, "layers": layers},
        "tokens_kept": 64,
    }


def judged():
    depth = {True: 9, False: None}
    runs = [
        (line("off", 10.0), 1.02),
        (line("5x20", 10.05), 1.5),
        (line("8x16", 10.8), 2.0),
        (line("8x16", 10.3, mask="box"), 1.9),
        (line("off", 9.9, layers={}), 3.0),
        (line("10x2", 10.4, layers={}), 4.0),
        (line("20x2", 12.0, layers={}), None),
    ]
    lines = [
        together._line(run, {} if speed is None else {"speedup": speed}, depth[run["layers"] is not None])
        for run, speed in runs
    ]
    return together._judged(lines)


def test_the_fastest_within_a_bound_and_the_front_are_named():
    lines = judged()
    assert [x["way"] for x in lines] == [
        "baseline", "TMU", "TMU", "TMU + mask", "ECLM", "ECLM + TMU", "ECLM + TMU",
    ]  # fmt: skip
    assert [x["speedup"] for x in lines] == [1.0, 1.5, 2.0, 1.9, 3.0, 4.0, None]
    assert [x["front"] for x in lines] == [False, False, False, False, True, True, False]
    assert [x["best_within_mm"] for x in lines] == [[], [], [], [], [0.1], [0.5], []]


def test_the_time_of_a_mask_counts():
    run = {**line("8x16", 10.0, mask="box"), "mask_share": 0.25}
    assert together._line(run, {"speedup": 2.0}, None)["speedup"] == pytest.approx(1.6)


def test_a_mask_by_another_rule_is_another_run(monkeypatch, tmp_path):
    found = tmp_path / "hamer-synthhand.jsonl"
    plain = {"method": "tome", "unmerge": True, "protect": "first", "stability_n": 4, "drift_mm": 1.0}
    plain["checkpoint_sha256"] = file_sha256(BUNDLED["hamer"].checkpoint)
    weighed = {**line("8x16", 10.3, mask="box"), **plain, "mask_weight": WEIGHT}
    first = {**line("8x16", 10.9, mask="box"), **plain, "mask_weight": None}
    found.write_text("".join(json.dumps(run) + "\n" for run in (weighed, first)))
    monkeypatch.setattr(type(BUNDLED["hamer"]), "results", lambda self, dataset: found)
    assert together.measured_lines(BUNDLED["hamer"], 9) == {("8x16", "box", None): weighed}


def test_each_trunk_is_a_command_with_its_own_schedules_and_masks():
    asked = together.Asked.of(BUNDLED["hamer"], "8x16,5x20", "box", [])
    assert together.run_texts(asked) == [["--r", "off,8x16,5x20", "--mask", "none,box", "--layers", "none"]]
    assert asked.trunks[None].masks == ("none", "box")
    found = together.Asked.of(BUNDLED["hamer"], "8x16", None, []).trunks[None].masks
    assert found[0] == "none"
    assert len(found) == 2


def test_the_figure_shows_what_was_timed():
    with style.styled():
        figure = drawing.draw(judged(), read_records(PUBLISHED))
        assert clipped(figure) == []
        named = [text.get_text() for text in figure.axes[0].texts]
        assert len(named) == sum(
            line["way"] != "baseline" and line["speedup"] is not None for line in judged()
        )
    with pytest.raises(InputError, match="no run was timed"):
        drawing.draw([{**x, "speedup": None} for x in judged()], [])


@pytest.mark.parametrize("speed", [None, 2.0])
def test_the_figure_waits_for_the_first_time(monkeypatch, capsys, speed):
    runs = [{**run, "speedup": speed} for run in judged()]
    told = []
    monkeypatch.setattr(measure_together, "merged_files", lambda *_: [])
    monkeypatch.setattr(measure_together, "combine", lambda *_: runs)
    monkeypatch.setattr(measure_together.evaluate_bundled, "run_all", lambda *_, jobs: 0)
    monkeypatch.setattr(measure_together.evaluate_bundled, "write_lines", lambda *_: told.append("lines"))
    monkeypatch.setattr(measure_together.figures, "redraw", lambda _: told.append("figure"))
    monkeypatch.setattr(measure_together.update_tables, "main", lambda _: told.append("tables"))
    measure_together.main(["--model", "hamer"])
    assert told == (["lines", "tables"] if speed is None else ["lines", "figure", "tables"])
    assert ("--time-only" in capsys.readouterr().out) == (speed is None)


def test_published_figures_are_marked_as_theirs_and_add_up():
    lines = read_records(PUBLISHED)
    assert {x["paper"] for x in lines} == {"FastHMR, arXiv:2510.10868"}
    for x in lines:
        base = next(o for o in reversed(lines[: lines.index(x) + 1]) if o["change_mm"] is None)
        assert x["speedup"] == pytest.approx(x["frames_per_s"] / base["frames_per_s"], abs=0.006)
        for _, show in LAYER_TABLES["published"].columns:
            show(x)
