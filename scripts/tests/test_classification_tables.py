"""The tables of CLASSIFICATION.md are those of the published lines."""

import json

import classification_tables as tables
import pytest
from classification_rows import NOTHING

from shared_tmu.errors import InputError

OFF = {
    "dataset": "pets", "crop_size": [28, 28], "label": "off", "method": "tome", "schedule": "off", "n": 7,
    "dtype": "float32", "tokens": 5, "tokens_kept": 5, "gflops": 2.0, "top1_pct": 80.0, "nll": 0.5,
    "minus_off_interval_95": None, "files": "somewhere", "model": "vit",
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


def write(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_classes_are_compared_in_pairs(published):
    write(published["classes"][0], MERGED, OFF)
    shown = tables.table("classes", "pets-28").splitlines()
    assert shown[2] == "| off | 5/5 | 2.00 |  | 80.0 |  |  |"
    assert shown[3] == "| tome 2x1 | 3/5 | 1.00 |  | 75.0 | -5.0 (-9.0 to +1.0) | +0.250 (+0.125 to +0.375) |"
    assert "7 pictures, float32" in shown[-1]
    assert tables.table("classes", "pets-56") == NOTHING


def test_classes_show_the_speed_of_their_own_size(published):
    write(published["classes"][0], OFF, MERGED)
    timed = {"method": "tome", "schedule": "2x1", "speedup": 1.5}
    write(published["speed"][0], {**timed, "model": "vit@28"}, {**timed, "model": "vit@56", "speedup": 9.0})
    assert "| tome 2x1 | 3/5 | 1.00 | 1.50x |" in tables.table("classes", "pets-28")


@pytest.mark.parametrize("other", [{"n": 8}, {"dtype": "bfloat16"}, {"weights_sha256": "b"}])
def test_lines_of_other_runs_are_not_in_one_table(published, other):
    write(published["classes"][0], OFF, MERGED, {**MERGED, "label": "tofu-2x1", "method": "tofu", **other})
    with pytest.raises(InputError, match="1 lines of other pictures"):
        tables.table("classes", "pets-28")
    write(published["classes"][0], MERGED)
    with pytest.raises(InputError, match="no line of 'off'"):
        tables.table("classes", "pets-28")


def test_training_shows_both_copies(published):
    top1 = {"plain_off": 84.0, "plain_merged": 70.0, "trained_off": 82.0, "trained_merged": 80.0}
    line = {
        "method": "tome",
        "schedule": "7x6",
        "tokens": 50,
        "tokens_kept": 8,
        "epochs": 6,
        "more_epochs": 4,
    }
    for name, value in (("drop", 14.0), ("gap", 4.0), ("own_drop", 2.0), ("regained", 10.0)):
        line |= {name: value, f"{name}_interval_95": [value - 1, value + 1]}
    write(published["training"][0], {**line, "top1_pct": top1})
    shown = tables.table("training", "").splitlines()[2]
    assert shown.startswith("| tome 7x6 | 8/50 | 6 + 4 | 84.0 | 70.0 | 82.0 | 80.0 | 14.0 (13.0 to 15.0) |")


def test_steps_show_their_machine(published):
    line = {"model": "vit", "method": "tome", "schedule": "2x1", "batch_size": 8, "off_ms": 90.4, "rounds": 7}
    line |= {"merged_ms": 60.2, "speedup": 1.5, "speedup_quartiles": [1.4, 1.6]}
    write(published["steps"][0], {**line, "machine": {"processor": "Abacus", "cpu_threads": 1}})
    shown = tables.table("steps", "")
    assert "| vit | tome 2x1 | 8 | 90 | 60 | 1.50x (1.40-1.60) |" in shown
    assert "7 rounds, float32, Abacus, threads: 1" in shown


def test_the_latest_line_of_a_run_is_taken(published, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    later = {**MERGED, "top1_pct": 70.0}
    file = results / "vit_s_focus-pets.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in (OFF, MERGED, later)))
    off = {"model": "vit@28", "batch_size": 2, "schedule": "off", "speedup": 1.0}
    write(results / "speed.jsonl", *({**off, "method": name} for name in ("tome", "tofu")))
    tables.take(results)
    assert len(published["speed"][0].read_text().splitlines()) == 1  # without merging, methods do not differ
    taken = [json.loads(line) for line in published["classes"][0].read_text().splitlines()]
    assert [(line["label"], line["top1_pct"]) for line in taken] == [("off", 80.0), ("2x1", 70.0)]
    assert "files" not in taken[0]
    with pytest.raises(InputError, match="no lines"):
        tables.take(tmp_path / "nowhere")
