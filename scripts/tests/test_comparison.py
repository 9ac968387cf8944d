"""comparison.py, and the blocks of update_tables.py that show it: controls beside TMU, a figure, nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import update_tables
from comparison import compare_runs

SHARED = {
    "model": "SMPLest-X", "dataset": "synthbody", "device": "cpu", "dtype": "float32", "images_per_s": None,
    "speedup": None, "pa_mpjpe_mm": 50.0,
}  # fmt: skip


def line(schedule: str, error: float, **changes: Any) -> dict[str, Any]:
    """A line of eval.py; hands err a tenth as much, the head half as much."""
    run = {"method": "tome", "unmerge": True, "protect": "first", "tokens_kept": 272, **changes}
    errors = {"pa_mpvpe_mm": error, "pa_mpvpe_hand_mm": error / 10, "pa_mpvpe_face_mm": error / 2}
    return {**SHARED, "schedule": schedule, **errors, **run}


TMU = [line("off", 60.0), line("1", 60.5, tokens_kept=240), line("5x20", 62.0, tokens_kept=172)]
CONTROLS = [
    line("1", 70.0, protect="last", tokens_kept=240),
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
    assert "| 1 | 240 | 60.50 (+0.50) | - | 70.00 (+10.00) | - |" in text
    assert "| 5x20 | 172 | 62.00 (+2.00) | 64.00 (+4.00) | - | - |" in text
    assert "| 8x16 | 144 | - | - | - | 63.00 (+3.00) |" in text
    assert "PA-MPVPE of the hands in mm, in brackets how much more than the unpatched model's 6.00:" in text
    assert "| 5x20 | 172 | 6.20 (+0.20) | 6.40 (+0.40) | - | - |" in text
    assert "| 5x20 | 172 | 31.00 (+1.00) | 32.00 (+2.00) | - | - |" in text
    assert "hands: PA-MPVPE (mm) | head: PA-MPVPE (mm) |" in text  # the plain table of one file
    assert "| 5x20 | tome | 172 | 62.00 | 50.00 | 6.20 | 31.00 | - | - |" in text
    assert "![Error against r, both ways](curve.png)" in text
    assert update_tables.main([str(page), "--check"]) == 0


def test_what_is_missing_is_not_measured_yet(tmp_path: Path) -> None:
    page = write(tmp_path)
    (tmp_path / "controls.jsonl").unlink()
    assert update_tables.main([str(page)]) == 0
    assert page.read_text().count("Not measured yet") == 2
    assert "curve.png)" not in page.read_text()


def test_what_cannot_be_compared_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="needs the unpatched model"):
        compare_runs(TMU[1:] + CONTROLS)
    other = [{**run, "dataset": "ehf"} for run in CONTROLS]
    with pytest.raises(ValueError, match="one model on one set"):
        compare_runs(TMU + other)
    page = write(tmp_path)
    (tmp_path / "controls.jsonl").write_text("".join(json.dumps(run) + "\n" for run in other))
    assert update_tables.main([str(page)]) == 1
    assert "tmu.jsonl and controls.jsonl: a comparison is of one model" in capsys.readouterr().err
    assert "old" in page.read_text()
