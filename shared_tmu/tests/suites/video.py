"""A folder's `demo.py --video`: a tiny model of random weights, a clip made here, boxes in a file."""

import json
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

from shared_tmu.demo.clip_writer import ClipWriter
from shared_tmu.demo.clips import Clip, ClipReader

from .folders import ModelFolder

FRAMES, FPS, SIZE = 6, 12.5, (180, 120)
ONE = {"box_xyxy": [40, 10, 110, 115], "is_right": True}
TWO = {"box_xyxy": [90, 5, 150, 118], "is_right": False}
BOXES = {"clip.mp4": [ONE], "clip.mp4:1": [], "clip.mp4:4": [ONE, TWO]}
FOUND_IN = [0, 2, 3, 4, 4, 5]
"""Frames of the rows that these boxes give."""


class VideoSuite:
    """What a user of `--video` sees."""

    folder: ClassVar[ModelFolder]

    @pytest.fixture(scope="class")
    @classmethod
    def given(cls, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
        """Flags for a run on a clip made here."""
        place = tmp_path_factory.mktemp("clip")
        cls.folder.save(cls.folder.tiny(depth=4), place / "tiny.safetensors")
        (place / "boxes.json").write_text(json.dumps(cls.folder.boxes(BOXES)))
        rng = np.random.default_rng(0)
        with ClipWriter(place / "clip.mp4", SIZE) as writer:
            for index in range(FRAMES):
                picture = cv2.resize(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8), SIZE)
                writer.write(picture, index / FPS)
            writer.finish(FRAMES / FPS)
        flags = {"--checkpoint": place / "tiny.safetensors", "--video": place / "clip.mp4", "--r": "5x4"}
        return {**flags, "--boxes": place / "boxes.json", "--device": "cpu", "--batch_size": 4}

    def run(self, given: dict[str, Any], out: Path, *more: str) -> int:
        flags = given | {"--out_folder": out}
        return self.folder.module("demo").run(
            [str(word) for pair in flags.items() for word in pair] + [*more]
        )

    def test_a_clip_gives_a_video_and_one_table(
        self, tmp_path: Path, given: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        assert self.run(given, out) == 0
        names = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
        tracks = ["clip_track_0.csv", "clip_track_1.csv"]
        assert names == ["clip.json", "clip.mp4", "clip.npz", *tracks]
        written = ClipReader(Clip.open(out / "clip.mp4"))
        assert len(list(written)) == FRAMES
        assert (written.fps, written.clip.size_px) == (pytest.approx(FPS), SIZE)
        saved = np.load(out / "clip.npz")
        assert saved["frame_index"].tolist() == FOUND_IN
        assert saved["time_s"] == pytest.approx(np.array(FOUND_IN) / FPS)
        assert saved["frame_time_s"] == pytest.approx(np.arange(FRAMES) / FPS)
        boxes = [ONE["box_xyxy"]] * 4 + [TWO["box_xyxy"], ONE["box_xyxy"]]
        assert saved["box_xyxy_px"].tolist() == boxes
        if "is_right" in self.folder.boxes(BOXES)["clip.mp4"][0]:
            assert saved["is_right"].tolist() == [True] * 4 + [False, True]
        points = (saved["joints_3d_m"] + saved["translation_m"][:, None]) @ saved["camera_matrix"].T
        assert np.abs(points[..., :2] / points[..., 2:] - saved["joints_2d_px"]).max() < 1e-3
        about = json.loads((out / "clip.json").read_text())
        facts = (about["model"], about["schedule"], about["video"], about["frames"])
        assert facts == (self.folder.name, "5x4", "clip.mp4", FRAMES)
        assert list(about["fields"]) == saved.files
        text = capsys.readouterr().out
        assert f"{172 + self.folder.prefix} of {192 + self.folder.prefix}" in text
        assert text.strip().endswith(f"Overlays of {FRAMES} of {FRAMES} frames are in {out}")

    def test_frames_give_the_numbers_of_pictures(self, tmp_path: Path, given: dict[str, Any]) -> None:
        folder = tmp_path / "frames"
        folder.mkdir()
        for index, loaded in enumerate(ClipReader(Clip.open(given["--video"]))):
            cv2.imwrite(str(folder / f"{index}.png"), loaded.picture.bgr)
        entries = {f"{index}.png": BOXES.get(f"clip.mp4:{index}", [ONE]) for index in range(FRAMES)}
        (tmp_path / "boxes.json").write_text(json.dumps(self.folder.boxes(entries)))
        given = given | {"--mask": "none"}  # auto takes the frame before into account
        pictures = {flag: value for flag, value in given.items() if flag != "--video"}
        pictures |= {"--img_folder": folder, "--boxes": tmp_path / "boxes.json"}
        assert self.run(given, tmp_path / "a", "--no-overlays") == 0
        assert self.run(pictures, tmp_path / "b", "--no-overlays") == 0
        saved = np.load(tmp_path / "a" / "clip.npz")
        single = [np.load(tmp_path / "b" / f"{index}.npz") for index in range(FRAMES)]
        for name in ("vertices_m", "joints_2d_px", "betas", "translation_m", "box_xyxy_px", "score"):
            assert np.array_equal(saved[name], np.concatenate([one[name] for one in single])), name
        assert set(single[0].files) < set(saved.files)

    def test_merging_changes_the_clip_and_resuming_does_not(
        self, tmp_path: Path, given: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name, r in (("off", "off"), ("merged", "20x4")):
            assert self.run(given | {"--r": r}, tmp_path / name, "--no-overlays") == 0
        off, merged = (np.load(tmp_path / name / "clip.npz")["vertices_m"] for name in ("off", "merged"))
        assert not np.array_equal(off, merged)
        before = (tmp_path / "off" / "clip.npz").stat().st_mtime_ns
        assert self.run(given | {"--r": "off"}, tmp_path / "off", "--no-overlays", "--resume") == 0
        assert (tmp_path / "off" / "clip.npz").stat().st_mtime_ns == before
        assert capsys.readouterr().out.strip().endswith(f"Parameters of clip.mp4 are in {tmp_path / 'off'}")

    def test_bad_videos_are_said_before_anything_is_written(
        self, tmp_path: Path, given: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "empty.mp4").write_bytes(b"")
        (tmp_path / "half.mp4").write_bytes(given["--video"].read_bytes()[:2000])
        for name in ("empty.mp4", "half.mp4", "missing.mp4"):
            caplog.clear()
            assert self.run(given | {"--video": tmp_path / name}, tmp_path / "out") == 1
            assert f"InputError: --video {tmp_path / name}" in caplog.text
        assert self.run(given, tmp_path / "out", "--save_mesh") == 1
        assert "--save_mesh makes files of single images" in caplog.text
        assert not (tmp_path / "out").exists()
        with pytest.raises(SystemExit):
            self.run(given, tmp_path / "out", "--img_folder", str(tmp_path))
