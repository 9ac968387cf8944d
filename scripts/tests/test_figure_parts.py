"""Every kind of figure from small inputs: what it shows, its files, and that nothing is cut off."""

import json

import figures
import numpy as np
import pytest
from bundled import BUNDLED, REPOSITORY
from comparison import arrange_runs
from figure_checks import check_saved, clipped
from figure_parts import (
    cka,
    cost,
    curves,
    demo_grid,
    depth,
    drift,
    joints,
    making,
    overhead,
    overview,
    style,
    vertices,
)
from test_comparison import CONTROLS, TMU

from shared_tmu.errors import InputError

ASSETS = REPOSITORY / "assets"
PLOTS = [
    figure
    for figure in figures.figures()
    if figure.group
    in (
        "curves",
        "drift",
        "tokens",
        "cka",
        "cost",
        "overhead",
        "growth",
        "merging",
        "together",
        "joints",
        "methods",
    )
]
TIMED = [{**run, "images_per_s": 10.0 + 5 * number} for number, run in enumerate(TMU)]
PICTURE = np.full((40, 30, 3), 128, np.uint8)


@pytest.mark.parametrize("figure", PLOTS, ids=lambda figure: figure.stem)
def test_nothing_is_cut_off_in_the_published_figures(figure):
    if figure.lacking(ASSETS):
        pytest.skip("not measured yet")
    with style.styled():
        assert clipped(figure.draw(ASSETS)) == []


def test_every_published_figure_lies_there_as_png_and_svg():
    for figure in figures.figures():
        if not figure.is_picture and not figure.lacking(ASSETS):
            assert (ASSETS / f"{figure.stem}.png").is_file(), figure.stem
            assert (ASSETS / f"{figure.stem}.svg").is_file(), figure.stem


def test_every_figure_is_shown_on_a_page_that_names_its_command():
    pages = [*REPOSITORY.glob("*.md"), ASSETS / "bench" / "README.md", *REPOSITORY.glob("*_TMU/README.md")]
    text = "\n".join(" ".join(page.read_text(encoding="utf-8").split()) for page in pages)
    for figure in figures.figures():
        if not figure.is_picture and not figure.lacking(ASSETS):
            assert f"{figure.stem}.png)" in text, figure.stem
            assert f"figures.py {figure.stem}`" in text, figure.stem


def test_each_joint_has_its_number_on_both_hands_and_the_left_is_the_mirrored_right():
    with style.styled():
        panels = joints.draw().axes
    for axes in panels:
        numbers = [text.get_text() for text in axes.texts if text.get_text().isdigit()]
        assert sorted(map(int, numbers)) == list(range(21))
    left, right = joints.pose("left")[1], joints.pose("right")[1]
    assert np.abs(left - right * [-1, 1, 1]).max() < 1e-6
    assert left[4, 0] > left[20, 0]  # seen from its back, a left hand's thumb is on the right
    assert right[:, 1].argmin() == 12  # the middle finger's tip is on top


def test_curves_stand_at_throughput_and_controls_at_that_of_tmu():
    controls = [{**run, "images_per_s": None} for run in CONTROLS if run["method"] == "tome"]
    found = curves.curves_of(arrange_runs(TIMED + controls), ASSETS / "thesis_curves.csv")
    ours = {points.way: points for points in found.lines}
    assert ours["TMU"].images_per_s == [10.0, 15.0, 20.0]
    assert ours["TMU"].speedups == [1.0, 1.5, 2.0]
    later = [TIMED[0], {**TIMED[1], "speedup": 1.2}]  # timed in turn with another `off`
    assert curves.curves_of(arrange_runs(later), ASSETS / "thesis_curves.csv").lines[0].speedups == [1.0, 1.2]
    assert ours["TMU"].rises_pct == pytest.approx([0.0, 100 / 120, 100 / 30])
    assert ours["merge-only"].images_per_s == [10.0, 20.0]
    assert ours["published"].schedules[0] == "off"
    with style.styled():
        assert clipped(curves.draw([found])) == []


def test_drift_has_a_row_for_each_measure_and_says_what_has_no_truth(tmp_path):
    hidden = {"scale_bias_pct": -2.0, "box_overlap_pct": 80.0}
    runs = [{**run, **hidden} for run in (*TMU, *CONTROLS[1:3])]
    others = [{**run, "dataset": "other", **hidden, "translation_error_mm": 7.0} for run in runs]
    with style.styled():
        figure = drift.draw([arrange_runs(runs), arrange_runs(others)])
        assert len(figure.axes) == 6
        assert "no ground truth\nfor this" in [text.get_text() for text in figure.axes[4].texts]
        assert clipped(figure) == []
    (tmp_path / "hamer_columns.jsonl").write_text("")
    with pytest.raises(InputError, match=r"measure_columns\.py --photos DIR makes them"):
        drift.drift_grid(tmp_path, BUNDLED["hamer"], "photos")


def test_counts_over_depth_and_similarity(tmp_path):
    lines = [
        {"blocks": blocks, "merged_cosine": 0.9, "random_cosine": 0.3} for blocks in ("all", "1-8", "9-16")
    ]
    with style.styled():
        figure = depth.draw({"Toy": lines})
        ends = {text.get_text() for axes in figure.axes for text in axes.get_legend().get_texts()}
        assert {"5x20: 92 left", "8x16: 64 left", "1: 160 left", "12x8+6x8: 48 left"} <= ends
        assert clipped(figure) == []


def test_layers(tmp_path):
    (tmp_path / "out").mkdir()
    record = {
        "kind": "cka",
        "model": "Toy",
        "dataset": "toys",
        "n": 3,
        "tokens": 1000,
        "cka": [[1, 0.5], [0.5, 1]],
    }
    path = tmp_path / "toy.json"
    path.write_text(json.dumps(record))
    with style.styled():
        assert clipped(cka.draw(cka.read(path))) == []
        check_saved(lambda: cka.draw(record), tmp_path / "out")
    path.write_text("[]")
    assert cka.read(path) is None
    for broken in ({"cka": [[1, 0.5]]}, {"cka": [[1, None], [0, 1]]}, {"n": "3"}, {"cka": "no"}):
        path.write_text(json.dumps(record | broken))
        with pytest.raises(InputError, match="measure it again"):
            cka.read(path)


def test_cost_is_relative_to_the_unpatched_model():
    about = {"model": "Toy", "size": "vit-h", "dtype": "float32", "batch_size": 2}
    parts = [{"attention": 30.0, "MLP": 70.0}, {"attention": 20.0, "MLP": 28.0, "matching": 2.0}]
    runs = [{**about, "schedule": s, "parts_ms": p} for s, p in zip(("off", "5x20"), parts, strict=True)]
    with style.styled():
        figure = cost.draw(runs)
        assert " 50 %, merging itself 2.0 %" in [text.get_text() for text in figure.axes[0].texts]
        assert clipped(figure) == []


def test_overhead_and_growth():
    one = {"runtime": "eager", "dtype": "float32", "overhead": 0.1, "overhead_quartiles": [0.05, 0.2]}
    speed = [{**one, "size": "thin", "schedule": "5x20", "batch_size": size} for size in (1, 8)]
    names = ("off", "merged", "floor", "matching")
    rows = {f"{name}_ms": [2.0, 1.0, 3.0] for name in names} | {f"{name}_peak_mib": 4.0 for name in names}
    scale = [
        {**one, **rows, "axis": axis, "value": value, "score_matrix_mib": 1.0}
        for axis in ("tokens", "batch", "depth")
        for value in (2, 4)
    ]
    with style.styled():
        assert clipped(overhead.draw(speed, scale)) == []
        assert clipped(overhead.draw_growth(scale)) == []


def test_demo_grid_and_overview_from_finished_pictures():
    with style.styled():
        grid = demo_grid.draw([[(PICTURE, ""), *[(PICTURE, "12.2 mm, 1.96x")] * 5]] * 2, ("input",) * 6)
        assert clipped(grid) == []
        trace = overview.Trace(PICTURE, PICTURE, PICTURE, PICTURE[:30], (192, 92), (20, 32))
        assert clipped(overview.draw(trace)) == []


def test_vertices_are_painted_by_their_error(tmp_path):
    tetrahedron = np.array([[0.0, 0, 5], [1, 0, 5], [0, 1, 5], [0, 0, 4]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    errors = np.array([[1.0, 2, 3, 4], [2, 3, 4, 5]])
    facts = {"model": "Toy", "dataset": "toys", "n": 3}
    path = tmp_path / "toy.npz"
    np.savez(path, labels=np.array(["off", "TMU 5x20"]), error_mm=errors, facts=np.array(json.dumps(facts)))
    found = vertices.read(path)
    assert found.labels == ["off", "TMU 5x20"]
    with style.styled():
        figure = vertices.draw(found, [tetrahedron], faces, (24, 24))
        assert figure.axes[3].get_title() == "mean +1.0 mm"
        assert clipped(figure) == []
    path.write_bytes(b"not an archive")
    with pytest.raises(InputError, match="measure it again"):
        vertices.read(path)


def test_a_program_makes_every_result_file_that_figures_need():
    needed = {name for figure in figures.figures() for name in figure.needs}
    found, unknown = making.find_makings(sorted(needed))
    assert set(unknown) == {"thesis_curves.csv", "fasthmr_published.jsonl"}
    for entry in found:
        for words in entry.commands:
            assert words[0] == "-m" or (REPOSITORY / words[0]).is_file()
    told = making.say(found, None)
    assert "hamer_photos.jsonl, hamer_photos_controls.jsonl: name your photographs with --photos DIR" in told
    assert f"--photos {REPOSITORY}" in making.say(found, REPOSITORY)
