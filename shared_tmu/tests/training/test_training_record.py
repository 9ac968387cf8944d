"""The record beside trained weights: what they saw, how long, where it began."""

import hashlib
import json

import pytest
from safetensors.torch import save_file

from shared_tmu.synth import Difficulty
from shared_tmu.training import record
from shared_tmu.training.curve import append_row, read_curve
from shared_tmu.training.drawing import Scenes
from shared_tmu.training.program import portable
from shared_tmu.training.settings import Setting, Stage


def test_a_record_says_what_was_seen_and_where_it_began(tmp_path):
    stages = [
        Stage("easy", 1, images=640, seed=1, count=300, difficulty=Difficulty(90.0)),
        Stage("wide", 1, images=640, seed=2, count=100),
        Stage("long", 2, images=640, seed=2, count=400, also=[Scenes(3, 50)]),
    ]
    setting = Setting(tmp_path, tmp_path, accelerator="cpu")
    for i, stage in enumerate(stages):
        for images, seconds in ((64, 10.0), (640, 100.0 * (i + 1))):
            row = {
                "stage": stage.name,
                "step": images // 64,
                "images": images,
                "seconds": seconds,
                "val/pa_mpvpe_mm": 9.0,
            }
            append_row(tmp_path / "curve.csv", {**row, "val/error_2d_px": 5.0})
    (tmp_path / "old.safetensors").write_bytes(b"weights")
    (tmp_path / "old.training.json").write_text('{"total": {"images_seen": 7, "images_seen_before": 5}}')
    for name, steps in (("easy", 10), ("long", 4)):
        (tmp_path / name).mkdir()
        save_file({}, tmp_path / name / "done.safetensors", metadata={"steps": str(steps), "seconds": "1"})
    record.write_record(tmp_path, "new", "train", stages, setting, tmp_path / "old.safetensors")
    told = json.loads((tmp_path / "new.training.json").read_text())
    assert told["total"] == {
        "images_seen": 640 + 640 + 4 * 64,  # the clock ended the last stage
        "images_seen_before": 12,
        "scenes": 300 + 228 + 28,  # the last stage saw 256 of its 450
        "seconds": 600.0,
    }
    assert [stage["ended_by"] for stage in told["stages"]] == ["pictures", None, "time"]
    parent = told["parent"]
    assert (parent["file"], parent["total"]) == (
        "old.safetensors",
        {"images_seen": 7, "images_seen_before": 5},
    )
    assert parent["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert {"python", "torch", "numpy", "shared_tmu"} <= set(told["versions"])
    assert told["machine"]["cuda"] is False
    assert told["machine"]["processor"]
    assert {"commit", "finished", "setting"} <= set(told)
    assert record.describe_parent(None) is None
    assert record.describe_parent(tmp_path / "gone")["sha256"] is None
    assert told["backbone"] is None
    record.write_record(tmp_path, "new", "train", stages, setting, backbone=tmp_path / "old.safetensors")
    told = json.loads((tmp_path / "new.training.json").read_text())
    assert (told["parent"], told["backbone"]["file"]) == (None, "old.safetensors")
    assert told["total"]["images_seen_before"] is None
    assert record.seen_before(None) == 0
    assert record.seen_before({"total": None}) is None
    assert record.seen_before({"total": {"images_seen": 7}}) is None  # an old record


def test_a_record_is_of_the_stages_that_are_exported(tmp_path):
    stages = [Stage(name, 1, images=64, seed=1, count=64) for name in ("first", "second")]
    for stage, error in zip(stages, (9.0, 5.0), strict=True):
        row = {"stage": stage.name, "step": 1, "images": 64, "seconds": 1.0}
        append_row(tmp_path / "curve.csv", {**row, "val/pa_mpvpe_mm": error, "val/error_2d_px": 1.0})
    record.write_record(tmp_path / "to", "new", "train", stages[:1], Setting(tmp_path, tmp_path))
    told = json.loads((tmp_path / "to" / "new.training.json").read_text())
    assert told["validation"]["last"]["val/pa_mpvpe_mm"] == 9.0
    assert [row["stage"] for row in read_curve(tmp_path / "to" / "new.curve.csv")] == ["first"]
    assert (tmp_path / "to" / "new.curve.png").exists()


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("start_from='/state/hamer/export/hamer_thin.safetensors'", "start_from=hamer_thin.safetensors"),
        ("backbone_from=/weights/wilor_thin.safetensors", "backbone_from=wilor_thin.safetensors"),
        ("start_from=weights/hamer_thin.safetensors", "start_from=weights/hamer_thin.safetensors"),
        ("backbone_from=null", "backbone_from=null"),
        ("stages.again.images=5", "stages.again.images=5"),
    ],
)  # fmt: skip
def test_a_recorded_command_names_no_place_of_a_machine(typed, shown):
    assert portable(typed) == shown


def test_scenes_are_counted_as_far_as_they_were_seen():
    one = Stage("one", 8, 6400, 2, 120_000)
    two = Stage("two", 8, 6400, 2, 300, also=[Scenes(3, 100, Difficulty(variety=1.0))])
    assert record.count_scenes([one], [6400]) == 6400
    assert record.count_scenes([one, two], [6400, 200]) == 6400 + 50
    assert record.count_scenes([one, two], [0, 6400]) == 300 + 100
