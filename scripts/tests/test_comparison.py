"""comparison.py, and the blocks of update_tables.py that show it: controls beside TMU, a figure, nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import update_tables
from cards import read_published, show_contrast, show_training
from comparison import THESIS, arrange_runs, compare_runs

SHARED = {
    "model": "SMPLest-X", "dataset": "synthbody", "device": "cpu", "dtype": "float32", "images_per_s": None,
    "speedup": None, "pa_mpjpe_mm": 50.0, "checkpoint": "smplest_x_thin.safetensors", "n": 500,
}  # fmt: skip


def line(schedule: str, error: float, **changes: Any) -> dict[str, Any]:
    """A line of eval.py; hands err a tenth as much, the head half as much."""
    run = {"method": "tome", "unmerge": True, "protect": "first", "tokens_kept": 272, **changes}
    errors = {"pa_mpvpe_mm": error, "pa_mpvpe_hand_mm": error / 10, "pa_mpvpe_face_mm": error / 2}
    return {**SHARED, "schedule": schedule, **errors, **run}


def interval(field: str, low: float, high: float) -> dict[str, Any]:
    return {field: {"pa_mpvpe_mm": [low, high]}}


TMU = [
    line("off", 60.0, **interval("interval_95", 58.0, 62.0), minus_off_interval_95=None),
    line("1", 60.5, tokens_kept=240, **interval("minus_off_interval_95", -0.25, 1.0)),
    line("5x20", 62.0, tokens_kept=172),
]
CONTROLS = [
    line("1", 70.0, protect="last", tokens_kept=240, **interval("minus_off_interval_95", 9.0, 11.0)),
    line("5x20", 99.0, unmerge=False, tokens_kept=172),
    line("5x20", 64.0, unmerge=False, tokens_kept=172),
    line("8x16", 63.0, method="random", tokens_kept=144),
]


def write(folder: Path) -> Path:
    for name, lines in (("tmu", TMU), ("controls", CONTROLS)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(run) + "\n" for run in lines))
    blocks = ("tmu.jsonl", "tmu.jsonl controls.jsonl", "curve.png Error against r, both ways")
    page = folder / "README.md"
    page.write_text("".join(f"<!-- results:begin {b} -->\nold\n<!-- results:end -->\n" for b in blocks))
    return page


def test_controls_stand_beside_tmu(tmp_path: Path) -> None:
    page = write(tmp_path)
    (tmp_path / "curve.png").write_bytes(b"")
    assert update_tables.main([str(page)]) == 0
    text = page.read_text()
    assert "| `--r` | tokens kept | TMU | merge-only | protect last | random pairs |" in text
    assert (
        "PA-MPVPE in mm, in brackets the difference from the unpatched model's 60.00 (58.00 to 62.00),"
        in text
    )
    assert (
        "| 1 | 240 | 60.50 (+0.50, -0.25 to 1.00, may be 0) | - | 70.00 (+10.00, 9.00 to 11.00) | - |" in text
    )
    assert "| 5x20 | 172 | 62.00 (+2.00) | 64.00 (+4.00) | - | - |" in text
    assert "| 8x16 | 144 | - | - | - | 63.00 (+3.00) |" in text
    assert "PA-MPVPE of the hands in mm, in brackets the difference from the unpatched model's 6.00:" in text
    assert "| 5x20 | 172 | 6.20 (+0.20) | 6.40 (+0.40) | - | - |" in text
    assert "| 5x20 | 172 | 31.00 (+1.00) | 32.00 (+2.00) | - | - |" in text
    assert "hands: PA-MPVPE (mm) | head: PA-MPVPE (mm) |" in text  # the plain table of one file
    assert "| off |  | 272 | 60.00 | 58.00 to 62.00 | 50.00 | 6.00 | 30.00 | - |" in text
    assert "| 5x20 | tome | 172 | 62.00 |  | 50.00 | 6.20 | 31.00 | - |" in text
    assert "![Error against r, both ways](curve.png)" in text
    assert update_tables.main([str(page), "--check"]) == 0


def test_what_is_missing_is_not_measured_yet(tmp_path: Path) -> None:
    page = write(tmp_path)
    (tmp_path / "controls.jsonl").unlink()
    assert update_tables.main([str(page)]) == 0
    assert page.read_text().count("Not measured yet") == 2
    assert "curve.png)" not in page.read_text()


def test_what_cannot_be_compared_is_said() -> None:
    with pytest.raises(ValueError, match="needs the unpatched model"):
        compare_runs(TMU[1:] + CONTROLS)
    other = [{**run, "dataset": "ehf"} for run in CONTROLS]
    with pytest.raises(ValueError, match="one model on one set"):
        compare_runs(TMU + other)
    with pytest.raises(ValueError, match="same weights"):
        compare_runs([{**run, "weights_sha256": i} for i, run in enumerate(TMU)])


def test_schedules_stand_in_the_order_of_the_thesis() -> None:
    runs = [line(schedule, 61.0) for schedule in ("7x3", "10x16", "5", "5x20", "1")]
    assert arrange_runs([*runs, TMU[0]]).schedules == ["1", "5x20", "5", "10x16", "7x3"]


def test_the_thesis_order_is_that_of_the_published_speeds() -> None:
    path = update_tables.REPOSITORY / "assets" / "thesis_curves.csv"
    assert tuple(read_published(path, "HaMeR")) == THESIS


RISES = """Increase of PA-MPVPE over `off`, in per cent of it (60.00 mm here, 40.00 mm published):

| `--r` | TMU, here | protect last, here | published |
|---|---|---|---|
| 1 | +0.8 % (-0.4 to 1.7) | +16.7 % (15.0 to 18.3) | +2.5 % |
| 5x20 | +3.3 % | - | +5.0 % |

protect last here against published: the rise is smaller at 0 of 1 schedules; \
0 of 0 pairs of schedules are in the same order.
"""


def test_the_rise_stands_beside_the_published_one() -> None:
    published = {"off": 40.0, "1": 41.0, "4": 41.5, "5x20": 42.0}
    assert show_contrast(TMU + CONTROLS, published) == RISES
    alone = show_contrast(TMU, published)
    assert "TMU here against published: the rise is smaller at 2 of 2 schedules; 1 of 1 pairs" in alone
    with pytest.raises(ValueError, match="no 'off' for this model"):
        show_contrast(TMU, {})


def test_errors_of_a_comparison_are_said_with_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = [{**run, "dataset": "ehf"} for run in CONTROLS]
    page = write(tmp_path)
    (tmp_path / "controls.jsonl").write_text("".join(json.dumps(run) + "\n" for run in other))
    assert update_tables.main([str(page)]) == 1
    assert "tmu.jsonl and controls.jsonl: a comparison needs lines of one model" in capsys.readouterr().err
    assert "old" in page.read_text()


STAGE = {"name": "deep", "depth": 32, "images_seen": 6000, "count": 10500, "seed": 2, "seconds": 1800.0}
TRAINING: dict[str, Any] = {
    "command": "python train.py", "seed": 0, "validation": {"count": 500, "seed": 9},
    "stages": [
        {**STAGE, "name": "easy", "depth": 8, "images_seen": 20000, "difficulty": {"max_turn_deg": 90}},
        {**STAGE, "difficulty": {}, "also": [{"seed": 4, "count": 400, "difficulty": {"variety": 0.5}}]},
    ],
    "machine": {"processor": "a CPU", "threads": 1}, "versions": {"torch": "2", "numpy": "1"},
}  # fmt: skip


def test_training_is_shown_stage_by_stage(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("<!-- results:begin thin.training.json -->\n<!-- results:end -->\n")
    assert update_tables.main([str(page)]) == 0
    assert "Not measured yet" in page.read_text()
    (tmp_path / "thin.training.json").write_text(json.dumps(TRAINING))
    assert update_tables.main([str(page)]) == 0
    text = page.read_text()
    assert "| easy | 8 | 20,000 | 10,500 | 0 | 2 | 90° | 0.50 |" in text
    assert "| deep | 32 | 6,000 | 10,900 | 200 | 2, 4 | - | 0.50 |" in text
    assert "all stages: 26,000 pictures in 1.0 hours; command: `python train.py`; seed: 0;" in text
    assert "trained on: a CPU, 1 thread; versions: torch 2, numpy 1." in text
    more = {
        "total": {"scenes": 10500},
        "commit": "abc",
        "parent": {"file": "x.safetensors", "sha256": "f" * 64},
    }
    full = show_training(TRAINING | more)
    assert "26,000 pictures of 10,500 scenes in 1.0 hours" in full
    assert "started from: x.safetensors (sha256 ffffffffffff)" in full
    assert "ended by" not in full
    assert "trunk from" not in full
    trunk = {"backbone": {"file": "y.safetensors", "sha256": None}}
    assert "; trunk from: y.safetensors; " in show_training(TRAINING | trunk)
    stopped = [
        {**one, "ended_by": how} for one, how in zip(TRAINING["stages"], ("time", "pictures"), strict=True)
    ]
    assert "; ended by setting.max_minutes: easy; " in show_training({**TRAINING, "stages": stopped})
    assert "commit: abc." in full


def test_masked_runs_are_a_way_of_their_own() -> None:
    masked = line("8x16", 61.0, mask="landmarks", tokens_kept=144)
    found = arrange_runs([*TMU, line("8x16", 63.0, tokens_kept=144), masked])
    assert found.ways == ["TMU", "mask landmarks"]
    assert found.cells["8x16", "TMU"]["pa_mpvpe_mm"] == 63.0
    assert found.cells["8x16", "mask landmarks"] == masked


def test_runs_that_would_share_a_place_are_refused_by_name() -> None:
    plain, heavy = (line("8x16", 61.0, mask="box", mask_weight=weight) for weight in (0.25, 1.0))
    assert arrange_runs([*TMU, plain, plain]).cells["8x16", "mask box"] == plain
    with pytest.raises(ValueError, match=r"mask box at 8x16 differ in mask_weight \(0\.25 and 1\.0\)"):
        arrange_runs([*TMU, plain, heavy])
    with pytest.raises(ValueError, match=r"TMU at off differ in smooth \(None and one-euro\)"):
        arrange_runs([*TMU, {**TMU[0], "smooth": "one-euro"}])


def test_hidden_errors_get_tables_where_all_lines_have_them_and_no_figure() -> None:
    runs = [
        {**run, "wrist_mpvpe_mm": 20.0 + i, "stability_mm": 1.0 + i} for i, run in enumerate(TMU + CONTROLS)
    ]
    text = compare_runs(runs)
    assert "Vertices with the wrists together, in mm, in brackets" in text
    assert "| 5x20 | 172 | 22.00 (+2.00) | 25.00 (+5.00) | - | - |" in text
    assert "Jump per pixel of box movement in mm" in text
    assert "wrist_mpvpe_mm" not in arrange_runs(runs).measures
    del runs[-1]["stability_mm"]
    assert "Jump per pixel" not in compare_runs(runs)
