"""Videos in the demo: frames stay in order and few, a clip is whole or not there."""

import json

import cv2
import numpy as np
import pytest
from clip_runs import BOXES, FPS, FRAMES, LEFT, RIGHT, SIZE, frames_of, run, write_clip
from toy_demo import contents, results, write_boxes

from shared_tmu.demo import main, sources
from shared_tmu.demo.clips import Clip, ClipReader
from shared_tmu.demo.frames import FrameDrawer
from shared_tmu.pictures.quiet import quiet_opencv
from shared_tmu.programs import hand_records as records


def test_a_clip_gives_a_video_a_table_and_its_description(program, clip, boxes, out, capsys):
    assert run(program, clip, out, boxes=boxes) == 0
    assert results(out) == ["clip.json", "clip.mp4", "clip.npz", "clip_track_0.csv", "clip_track_1.csv"]
    written = ClipReader(Clip.open(out / "clip.mp4"))
    assert len(list(written)) == FRAMES
    assert (written.fps, written.clip.size_px) == (pytest.approx(FPS), SIZE)
    before, after = frames_of(clip), frames_of(out / "clip.mp4")
    moved = [np.abs(a.astype(int) - b).mean() for a, b in zip(before, after, strict=True)]
    assert max(moved[3:5]) < min(moved[:3] + moved[5:])  # hands are drawn where there are boxes
    saved = np.load(out / "clip.npz")
    assert saved["frame_index"].tolist() == [0, 1, 2, 5, 5, 6, 7]
    assert saved["time_s"] == pytest.approx(saved["frame_index"] / FPS)
    assert saved["frame_time_s"] == pytest.approx(np.arange(FRAMES) / FPS)
    assert saved["track_id"].tolist() == [0, 0, 0, 0, 1, 0, 0]
    assert saved["is_found"].all()
    assert saved["is_right"].tolist() == [True] * 4 + [False] + [True] * 2
    assert saved["box_xyxy_px"][3:5].tolist() == [RIGHT["box_xyxy"], LEFT["box_xyxy"]]
    assert saved["score"][4] == 0.5
    assert saved["vertices_m"].shape == (7, 778, 3)
    about = json.loads((out / "clip.json").read_text())
    assert (about["video"], about["frames"], about["hands"]) == ("clip.mp4", FRAMES, 7)
    assert about["fps"] == pytest.approx(FPS)
    assert about["schedule"] == "4x3"
    assert list(about["fields"]) == saved.files
    assert about["fields"]["time_s"]["where"] == "npz"
    text = capsys.readouterr().out
    assert "7 (none found in 2 frames)" in text
    assert text.strip().endswith(f"Overlays of 8 of 8 frames are in {out}")


def test_a_clip_gives_the_numbers_of_its_frames_as_pictures(program, clip, boxes, out, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, frame in enumerate(frames_of(clip)):
        cv2.imwrite(str(folder / f"{index}.png"), frame)
    entries = {f"{index}.png": BOXES.get(f"clip.mp4:{index}", [RIGHT]) for index in range(FRAMES)}
    pictures = write_boxes(tmp_path / "pictures.json", entries)
    flags = ("--no-overlays", "--mask", "box")
    assert run(program, clip, out, *flags, boxes=boxes) == 0
    arguments = ["--img_folder", folder, "--out_folder", tmp_path / "b", "--r", "4x3", "--batch_size", 3]
    arguments += ["--device", "cpu", "--boxes", pictures, *flags]
    assert main(program, [str(argument) for argument in arguments]) == 0
    saved = np.load(out / "clip.npz")
    single = [np.load(tmp_path / "b" / f"{index}.npz") for index in range(FRAMES)]
    for name in single[0].files:
        if name in records.TABLE.per_image:
            assert np.array_equal(saved[name], single[0][name])
        else:
            assert np.array_equal(saved[name], np.concatenate([one[name] for one in single])), name


def moving(x, is_right=True):
    return {"box_xyxy": [x, 20, x + 40, 70], "is_right": is_right, "score": 0.9}


def test_tracks_give_one_side_and_bridge_gaps_if_that_is_asked_for_given_boxes(program, clip, out, tmp_path):
    """Otherwise boxes of a file stay as they are, and are numbered only."""
    entries = {f"clip.mp4:{t}": [moving(30 + 4 * t, is_right=t != 5)] for t in range(FRAMES) if t != 3}
    boxes = write_boxes(tmp_path / "b.json", {**entries, "clip.mp4:3": []})
    for flags in ((), ("--track",)):
        assert run(program, clip, out / str(len(flags)), "--no-overlays", *flags, boxes=boxes) == 0
    given, tracked = (np.load(out / name / "clip.npz") for name in ("0", "1"))
    assert given["frame_index"].tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert given["is_right"].tolist() == [True] * 4 + [False] + [True] * 2
    assert tracked["frame_index"].tolist() == list(range(FRAMES))
    assert tracked["is_right"].all()
    assert tracked["is_found"].tolist() == [t != 3 for t in range(FRAMES)]
    assert tracked["box_xyxy_px"][:, 0] == pytest.approx(30 + 4 * np.arange(FRAMES))
    assert not given["track_id"].any()
    assert not tracked["track_id"].any()


@pytest.mark.parametrize("overlays", ["--overlays", "--no-overlays"])
def test_looking_ahead_in_frames_of_any_size_does_not_wait_for_ever(
    program, clip, out, tmp_path, monkeypatch, overlays
):
    monkeypatch.setattr("shared_tmu.demo.batching.MAX_WAITING_PIXELS", 1)
    monkeypatch.setattr("shared_tmu.demo.tracks.choice.LOOK_AHEAD_PIXELS", 3 * SIZE[0] * SIZE[1])
    boxes = write_boxes(tmp_path / "b.json", {"clip.mp4": [RIGHT], "clip.mp4:3": []})
    assert run(program, clip, out, "--track", overlays, boxes=boxes) == 0
    assert np.load(out / "clip.npz")["frame_index"].tolist() == list(range(FRAMES))


def test_processes_draw_the_same_clip(program, clip, boxes, out, tmp_path):
    for folder, processes in ((out, 0), (tmp_path / "b", 1)):
        assert run(program, clip, folder, "--draw_processes", processes, boxes=boxes) == 0
    a, b = contents(out), contents(tmp_path / "b")
    assert set(a) == set(b)
    assert {name for name in a if a[name] != b[name]} <= {"clip.mp4"}  # which may hold the time of writing
    assert all(map(np.array_equal, frames_of(out / "clip.mp4"), frames_of(tmp_path / "b" / "clip.mp4")))


def test_nothing_found_in_the_whole_clip(program, clip, out, tmp_path, caplog):
    nobody = write_boxes(tmp_path / "nobody.json", {"other.mp4": [RIGHT]})
    assert run(program, clip, out, boxes=nobody) == 0
    assert "no boxes for clip.mp4: name the clip, or its frames as in clip.mp4:0" in caplog.text
    saved = np.load(out / "clip.npz")
    assert saved["frame_index"].shape == saved["time_s"].shape == (0,)
    assert saved["frame_index"].dtype.kind == "i"
    assert saved["joints_2d_px"].shape == (0, 21, 2)
    assert len(frames_of(out / "clip.mp4")) == FRAMES


def test_what_cannot_be_read_is_said_before_anything_is_written(program, clip, out, tmp_path, caplog):
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "empty.mp4").write_bytes(b"")
    (bad / "text.mp4").write_text("no video at all\n" * 100)
    (bad / "headless.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])  # the index comes last
    for name in ("missing.mp4", "empty.mp4", "text.mp4", "headless.mp4", "."):
        caplog.clear()
        assert run(program, bad / name, out) == 1, name
        assert f"--video {bad / name} " in caplog.text, name
        assert len(caplog.records) == 1
        assert not out.exists()
    assert run(program, clip, clip.parent) == 1
    assert "holds the video itself" in caplog.text


@pytest.mark.parametrize("flag", ["--side_view", "--save_mesh", "--compare", "--tokens", "--no-full_frame"])
def test_flags_of_single_images_are_refused(program, clip, out, caplog, flag):
    assert run(program, clip, out, flag) == 1
    assert f"{flag} " in caplog.text
    assert not out.exists()


def test_a_video_and_a_folder_exclude_each_other(program, clip, out, capsys):
    with pytest.raises(SystemExit) as stop:
        run(program, clip, out, "--img_folder", clip.parent)
    assert stop.value.code == 2
    assert "not allowed with argument --video" in capsys.readouterr().err


def cut(path, clip, share):
    """A clip whose index comes first, without the last of its frames, as after a broken download."""
    avi = clip.with_suffix(".avi")
    with quiet_opencv():  # the first video of a process settles what FFmpeg says in all later tests
        writer = cv2.VideoWriter(str(avi), cv2.VideoWriter.fourcc(*"MJPG"), FPS, SIZE)
    for frame in frames_of(clip):
        writer.write(frame)
    writer.release()
    path.write_bytes(avi.read_bytes()[: int(share * avi.stat().st_size)])
    return path


def test_a_clip_that_is_cut_off_gives_what_there_is_and_says_so(program, out, tmp_path, capsys):
    whole = write_clip(tmp_path / "whole.mp4", frames=30)
    part = cut(tmp_path / "part.avi", whole, 0.5)
    assert run(program, part, out, "--detector", "whole-image", "--no-overlays") == 1
    saved = np.load(out / "part.npz")
    read = len(saved["frame_time_s"])
    assert 5 < read < 25
    assert (
        f"part.avi: {read} of 30 frames could be read; the rest is damaged or missing"
        in capsys.readouterr().out
    )
    assert run(program, part, out, "--detector", "whole-image", "--no-overlays", "--resume") == 1
    text = capsys.readouterr().out
    assert f"{read} of 30 frames" in text
    assert "frames   " not in text  # nothing was done again


def test_resuming_keeps_a_finished_clip_and_does_another_again(
    program, clip, boxes, out, monkeypatch, capsys
):
    assert run(program, clip, out, boxes=boxes) == 0
    before = {path: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file()}
    assert run(program, clip, out, "--resume", boxes=boxes) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert capsys.readouterr().out.strip().endswith(f"Overlays of clip.mp4 are in {out}")
    assert run(program, clip, out, "--resume", "--r", "off", boxes=boxes) == 0
    assert json.loads((out / "clip.json").read_text())["schedule"] == "off"
    write_clip(clip, frames=3)
    assert run(program, clip, out, "--resume", "--no-overlays", boxes=boxes) == 0
    assert len(np.load(out / "clip.npz")["frame_time_s"]) == 3
    assert results(out) == ["clip.json", "clip.npz", "clip_track_0.csv"]  # no overlays of the clip before


def test_a_frame_that_cannot_be_drawn_costs_one_frame(program, clip, boxes, out, monkeypatch, capsys):
    files = FrameDrawer.files

    def broken(self, job):
        if job.source.key == "2":
            raise IndexError("no such vertex")
        return files(self, job)

    with monkeypatch.context() as patched:
        patched.setattr(FrameDrawer, "files", broken)
        assert run(program, clip, out, boxes=boxes) == 1
    text = capsys.readouterr().out
    assert "clip.mp4:2: drawing failed (IndexError: no such vertex)" in text
    assert "Overlays of 7 of 8 frames" in text
    frames = frames_of(out / "clip.mp4")
    assert len(frames) == FRAMES
    assert np.abs(frames[2].astype(int) - frames[1]).mean() < 2  # shown for longer
    assert 2 not in np.load(out / "clip.npz")["frame_index"]
    assert run(program, clip, out, "--resume", boxes=boxes) == 0  # it may go well the next time
    assert 2 in np.load(out / "clip.npz")["frame_index"]


def test_bad_boxes_of_many_frames_are_listed_briefly(program, out, tmp_path, capsys):
    clip = write_clip(tmp_path / "long.mp4", frames=60)
    bad = write_boxes(tmp_path / "bad.json", {"long.mp4": [RIGHT, {**LEFT, "box_xyxy": [9, 9, 3, 3]}]})
    assert run(program, clip, out, "--no-overlays", boxes=bad) == 1
    text = capsys.readouterr().out
    assert text.count("upside down") == sources.PROBLEMS_LISTED
    assert f"and {60 - sources.PROBLEMS_LISTED} more\n" in text
    assert len(np.load(out / "long.npz")["frame_index"]) == 60
