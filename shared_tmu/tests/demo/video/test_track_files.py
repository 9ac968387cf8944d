"""What a clip's tracks leave: files, an entry each, and how much they shake."""

import csv
import json
import re

import numpy as np
import pytest
from clip_runs import FPS, FRAMES, run
from toy_demo import results

from shared_tmu.demo.tracks.jitter import Jitter, Shake


def test_each_track_has_a_file_and_an_entry(program, clip, boxes, out, capsys):
    assert run(program, clip, out, "--no-overlays", boxes=boxes) == 0
    saved, about = np.load(out / "clip.npz"), json.loads((out / "clip.json").read_text())
    assert [one["track_id"] for one in about["tracks"]] == [0, 1]
    first = about["tracks"][0]
    assert (first["first_frame"], first["last_frame"], first["frames"]) == (0, FRAMES - 1, 6)
    assert [one["is_right"] for one in about["tracks"]] == [True, False]
    for track in (0, 1):
        with (out / f"clip_track_{track}.csv").open() as file:
            rows = list(csv.DictReader(file))
        mine = np.flatnonzero(saved["track_id"] == track)
        assert [int(row["frame_index"]) for row in rows] == saved["frame_index"][mine].tolist()
        for row, index in zip(rows, mine, strict=True):
            assert float(row["time_s"]) == pytest.approx(saved["time_s"][index], abs=1e-4)
            assert float(row["bottom_px"]) == saved["box_xyxy_px"][index, 3]
            assert float(row["z_m"]) == pytest.approx(saved["translation_m"][index, 2], abs=1e-4)
            assert float(row["joint20_y_px"]) == pytest.approx(saved["joints_2d_px"][index, 20, 1], abs=1e-3)
    text = capsys.readouterr().out
    assert re.search(rf"jitter of joints +{about['jitter']['joints']['m_per_s2']:.3g} m/s² \(", text)


def test_jitter_is_printed_also_without_parameters(program, clip, boxes, out, capsys):
    assert run(program, clip, out, "--no-save_params", boxes=boxes) == 0
    assert results(out) == ["clip.mp4"]
    assert " m/s² (" in capsys.readouterr().out


def test_a_users_file_of_such_a_name_is_kept_and_said_before_any_work(program, clip, boxes, out, caplog):
    out.mkdir()
    (out / "clip_track_7.csv").write_text("mine")
    assert run(program, clip, out, boxes=boxes) == 1
    assert "clip_track_7.csv" in caplog.text
    assert (out / "clip_track_7.csv").read_text() == "mine"
    assert results(out) == ["clip_track_7.csv"]


def test_jitter_is_the_acceleration_whatever_the_frame_times():
    """x = 3 t² in one axis and 4 t² in another: 10 m/s² at any three times."""
    times = np.cumsum([0.0, 0.04, 0.03, 0.05, 0.04])
    jitter = Jitter()
    for frame, at in enumerate(times):
        jitter.add(3, frame, at, np.outer(np.ones(5), [3 * at**2, 4 * at**2, at]), np.array([0, at**2, 0]))
        jitter.add(4, 2 * frame, at, np.full((5, 3), at**3), np.zeros(3))  # never in successive frames
    assert jitter.joints.count == 3
    assert jitter.joints.to_dict()["m_per_s2"] == pytest.approx(10)
    assert jitter.camera.to_dict()["m_per_s2"] == pytest.approx(2)
    assert Shake().to_dict() == {"m_per_s2": None, "mm_per_frame2": None}
    assert "unknown" in str(Shake())


def test_at_an_even_rate_it_is_the_second_difference():
    shake = Shake()
    shake.add([np.array([[0.0, 0, 0]]), np.array([[0.001, 0, 0]]), np.zeros((1, 3))], [0, 1 / FPS, 2 / FPS])
    assert shake.to_dict() == pytest.approx({"mm_per_frame2": 2.0, "m_per_s2": 0.002 * FPS**2})
