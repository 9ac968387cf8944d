"""The tables of CLASSIFICATION.md are those of the published lines."""

import json

import classification_tables as tables
import pytest

from shared_tmu.errors import InputError

OFF = {
    "dataset": "pets", "crop_size": [28, 28], "label": "off", "method": "tome", "schedule": "off", "n": 7,
    "dtype": "float32", "tokens": 5, "tokens_kept": 5, "gflops": 2.0, "top1_pct": 80.0, "nll": 0.5,
    "minus_off_interval_95": None, "files": "somewhere",
}  # fmt: skip
MERGED = {
    **OFF, "label": "2x1", "schedule": "2x1", "tokens_kept": 3, "gflops": 1.0, "top1_pct": 75.0, "nll": 0.75,
    "minus_off_interval_95": {"top1_pct": [-9.0, 1.0], "nll": [0.125, 0.375]},
}  # fmt: skip


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Files of lines in a folder of their own."""
    own = {kind: (tmp_path / "assets" / path.name, *rest) for kind, (path, *rest) in tables.LINES.items()}
    monkeypatch.setattr(tables, "LINES", own)
    (tmp_path / "assets").mkdir()
    return own


def test_the_page_shows_the_published_lines(capsys):
    assert tables.main(["--check"]) == 0


def test_classes_are_compared_in_pairs(published):
    published["classes"][0].write_text("".join(json.dumps(line) + "\n" for line in (MERGED, OFF)))
    shown = tables.table("classes", "pets-28").splitlines()
    assert shown[2] == "| off | 5/5 | 2.00 | 80.0 |  |  |"
    assert shown[3] == "| tome 2x1 | 3/5 | 1.00 | 75.0 | -5.0 (-9.0 to +1.0) | +0.250 (+0.125 to +0.375) |"
    assert "7 pictures, float32" in shown[-1]
    assert tables.table("classes", "pets-56") == tables.NOTHING


def test_the_latest_line_of_a_run_is_taken(published, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    later = {**MERGED, "top1_pct": 70.0}
    file = results / "vit_s_focus-pets.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in (OFF, MERGED, later)))
    tables.take(results)
    taken = [json.loads(line) for line in published["classes"][0].read_text().splitlines()]
    assert [(line["label"], line["top1_pct"]) for line in taken] == [("off", 80.0), ("2x1", 70.0)]
    assert "files" not in taken[0]
    with pytest.raises(InputError, match="no lines"):
        tables.take(tmp_path / "nowhere")
