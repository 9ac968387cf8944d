"""tmu.busy: the demo without a checkpoint, and what it says about how busy the model was."""

import json

import cv2
import numpy as np

from hamer_tmu.tmu import busy


def test_the_demo_runs_with_random_weights_and_says_how_busy_the_model_was(
    tmp_path, monkeypatch, capsys, caplog
):
    monkeypatch.setattr(busy, "SIZE", "tiny")  # the published sizes take minutes here
    noise = np.random.default_rng(0).integers(0, 256, (120, 180, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), noise)
    entries = [{"box_xyxy": [20 + x, 20, 90 + x, 100], "is_right": x > 0} for x in (0, 40)]
    (tmp_path / "boxes.json").write_text(json.dumps({"a.png": entries}))
    report = tmp_path / "report.jsonl"
    flags = ["--img_folder", tmp_path / "images", "--boxes", tmp_path / "boxes.json", "--device", "cpu"]
    flags += ["--out_folder", tmp_path / "out", "--report", report, "--dtype", "bfloat16", "--no-overlays"]
    assert busy.run([str(flag) for flag in flags]) == 0
    assert "model busy" in capsys.readouterr().out
    record = json.loads(report.read_text())
    assert (record["images"], record["hands"], record["dtype"]) == (1, 2, "bfloat16")
    assert 0 < record["model_busy"] <= 1
    assert record["converting_s"] > 0
    assert busy.run([*map(str, flags), "--checkpoint", "a.ckpt"]) == 1
    assert "use demo.py" in caplog.text
