"""update_tables.py: the figures in the READMEs are those of the committed results files."""

import json
from pathlib import Path

import pytest
import update_tables

RUN = {
    "model": "hamer_thin",
    "dataset": "synthhand",
    "schedule": "off",
    "method": "tome",
    "unmerge": True,
    "pa_mpvpe_mm": 10.125,
    "pa_mpjpe_mm": 9.5,
    "images_per_s": 31.26,
    "speedup": 1.0,
    "tokens_kept": 192,
    "device": "cpu",
    "dtype": "float32",
    "versions": {"torch": "2.13.0"},
    "commit": "abc",
}


def write(folder: Path, *changes: dict[str, object]) -> Path:
    lines = [json.dumps(RUN | change) for change in changes]
    (folder / "runs.jsonl").write_text("\n".join(lines) + "\n")
    page = folder / "README.md"
    page.write_text("before\n<!-- results:begin runs.jsonl -->\nold\n<!-- results:end -->\nafter\n")
    return page


def test_fills_the_block_and_nothing_else(tmp_path: Path) -> None:
    page = write(
        tmp_path,
        {"schedule": "5x20", "pa_mpvpe_mm": 99.0},
        {},
        {"schedule": "5x20", "tokens_kept": 92, "speedup": 1.4, "pa_mpvpe_mm": 10.3},
        {"schedule": "5x20", "unmerge": False},
        {"device": "cuda", "images_per_s": 900.0, "machine": {"processor": "a GPU"}},
    )
    assert update_tables.main([str(page), "--check"]) == 1
    assert update_tables.main([str(page)]) == 0
    lines = page.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    assert "| off |  | 192 | 10.12 | 9.50 | - | 1.00x |" in lines
    assert "| 5x20 | tome | 92 | 10.30 | 9.50 | - | 1.40x |" in lines
    assert any(line.startswith("| 5x20 | tome, not unmerged |") for line in lines)
    assert not any("99.00" in line for line in lines)
    assert any("versions: torch 2.13.0" in line for line in lines)
    assert any("device: cuda" in line and "processor: a GPU" in line for line in lines)
    assert lines.index("| off |  | 192 | 10.12 | 9.50 | 900.0 | 1.00x |") > lines.index(
        "| off |  | 192 | 10.12 | 9.50 | - | 1.00x |"
    )
    assert update_tables.main([str(page), "--check"]) == 0


@pytest.mark.parametrize("text", ["", "not json\n", '{"model": 1}\n', "[1, 2]\n"])
def test_says_which_line_cannot_be_shown(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = write(tmp_path, {})
    (tmp_path / "runs.jsonl").write_text(text)
    before = page.read_text()
    assert update_tables.main([str(page)]) == 1
    assert "runs.jsonl" in capsys.readouterr().err
    assert page.read_text() == before


def test_says_so_where_nothing_was_measured(tmp_path: Path) -> None:
    page = write(tmp_path, {})
    (tmp_path / "runs.jsonl").unlink()
    assert update_tables.main([str(page)]) == 0
    assert "Not measured yet" in page.read_text()


def test_the_published_tables_are_up_to_date() -> None:
    assert update_tables.main(["--check"]) == 0
