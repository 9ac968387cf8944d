"""A folder's `demo.py` end to end: a tiny model of random weights, pictures made here, boxes in a file."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from commands import run_command

from .folders import ModelFolder

BOXES: dict[str, list[dict[str, Any]]] = {
    "one.png": [{"box_xyxy": [40, 30, 90, 100], "is_right": True}],
    "two.png": [
        {"box_xyxy": [20, 50, 70, 90], "is_right": False},
        {"box_xyxy": [90, 20, 150, 100], "is_right": True},
    ],
    "three.png": [{"box_xyxy": [-10, 30, 60, 90], "is_right": False}],
}
SIZE = (180, 120)
FLAGS = """--checkpoint --img_folder --out_folder --side_view --full_frame --save_mesh --batch_size
    --rescale_factor --file_type --r --method --no-unmerge --detector --boxes --device
    --dtype --protect --focal --save_params --compare --tokens --resume --video"""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


class DemoSuite:
    """What a user sees."""

    folder: ClassVar[ModelFolder]

    @pytest.fixture(scope="class")
    @classmethod
    def checkpoint(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
        cls.folder.save(cls.folder.tiny(depth=4), path)
        return path

    @pytest.fixture(scope="class")
    @classmethod
    def images(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("images")
        rng = np.random.default_rng(0)
        for name in BOXES:
            coarse = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / name), cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC))
        return folder

    @pytest.fixture(scope="class")
    @classmethod
    def boxes(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("boxes") / "boxes.json"
        path.write_text(json.dumps(cls.folder.boxes(BOXES)))
        return path

    @pytest.fixture
    def given(self, checkpoint: Path, images: Path, boxes: Path) -> dict[str, Any]:
        """Flags for a run on the pictures here."""
        flags = {"--checkpoint": checkpoint, "--img_folder": images, "--boxes": boxes, "--r": "5x4"}
        return {**flags, "--device": "cpu", "--batch_size": 2}

    def run(self, given: dict[str, Any], out: Path, *more: str) -> int:
        return self.folder.module("demo").run(self.line(given, out, *more))

    @staticmethod
    def line(given: dict[str, Any], out: Path, *more: str) -> list[str]:
        flags = given | {"--out_folder": out}
        return [str(word) for pair in flags.items() for word in pair] + list(more)

    def test_everything_it_can_save(
        self, tmp_path: Path, given: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        assert self.run(given, out, "--side_view", "--save_mesh", "--compare", "--tokens") == 0
        found = [
            f"{key}_{index}"
            for key, count in (("one", 1), ("two", 2), ("three", 1))
            for index in range(count)
        ]
        ends = (".png", ".obj", ".glb", "_tokens.png", "_compare.png")
        expected = [one + end for one in found for end in ends]
        expected += [key + end for key in ("one", "two", "three") for end in (".npz", ".json", "_all.jpg")]
        assert sorted(p.name for p in out.iterdir() if not p.name.startswith(".")) == sorted(expected)
        text = capsys.readouterr().out
        assert "tokens kept" in text
        assert f"{172 + self.folder.prefix} of {192 + self.folder.prefix}" in text
        assert "merge-only 5x4" in text
        assert text.strip().endswith(str(out))

    def test_the_python_call_gives_what_it_saves(self, tmp_path: Path, given: dict[str, Any]) -> None:
        out, package = tmp_path / "out", importlib.import_module(self.folder.package)
        assert self.run(given, out, "--no-overlays") == 0
        names, entries = sorted(BOXES), self.folder.boxes(BOXES)
        boxes = [[entry["box_xyxy"] for entry in entries[name]] for name in names]
        has_sides = "is_right" in entries[names[0]][0]
        sides = [[entry["is_right"] for entry in entries[name]] for name in names] if has_sides else None
        model = package.load(given["--r"], device="cpu", checkpoint=given["--checkpoint"], batch_size=2)
        results = model.predict([given["--img_folder"] / name for name in names], boxes, sides)
        for name, result in zip(names, results, strict=True):
            with np.load(out / name.replace("png", "npz")) as saved:
                assert list(saved) == list(result.to_dict())
                assert all(np.array_equal(saved[key], values) for key, values in result.to_dict().items())

    def test_the_command_of_the_package_runs_it(
        self, tmp_path: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["tmu", "demo", *self.line(given, tmp_path, "--no-overlays")])
        assert importlib.import_module(f"{self.folder.package}.__main__").run() == 0
        assert len(list(tmp_path.glob("*.npz"))) == len(BOXES)

    def test_killed_and_resumed_gives_the_files_of_one_clean_run(
        self, tmp_path: Path, given: dict[str, Any]
    ) -> None:
        out, clean, more = tmp_path / "out", tmp_path / "clean", ("--save_mesh", "--side_view")
        command = [sys.executable, "demo.py", *self.line(given, out, *more)]
        process = subprocess.Popen(
            command, cwd=self.folder.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while not list(out.glob("*.png")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert self.run(given, out, *more, "--resume") == 0
        assert self.run(given, clean, *more) == 0
        assert contents(out) == contents(clean)

    def test_what_cannot_be_processed_is_named_and_the_rest_is_done(
        self, tmp_path: Path, given: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "mixed"
        folder.mkdir()
        for name in ("one.png", "two.png"):
            (folder / name).write_bytes((given["--img_folder"] / name).read_bytes())
        (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
        boxes = {"one.png": [{"box_xyxy": [90, 30, 40, 100], "is_right": True}], "two.png": BOXES["two.png"]}
        (tmp_path / "b.json").write_text(json.dumps(self.folder.boxes(boxes)))
        assert self.run(given | {"--img_folder": folder, "--boxes": tmp_path / "b.json"}, tmp_path / "o") == 1
        text = capsys.readouterr().out
        assert "cut.jpg" in text
        assert "upside down" in text
        assert (tmp_path / "o" / "two.npz").is_file()

    def test_merge_only(self, tmp_path: Path, given: dict[str, Any]) -> None:
        assert self.run(given | {"--r": "off"}, tmp_path / "off") == 0
        assert self.run(given | {"--r": "30x4"}, tmp_path / "merge_only", "--no-unmerge") == 0
        a, b = (np.load(tmp_path / name / "one.npz")["vertices_m"] for name in ("off", "merge_only"))
        assert np.isfinite(b).all()
        assert not np.array_equal(a, b)
        assert json.loads((tmp_path / "merge_only" / "one.json").read_text())["unmerge"] is False

    def test_protecting_the_last(
        self, tmp_path: Path, given: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        """The published choice, where there are task tokens to tell the difference."""
        status = self.run(given, tmp_path / "last", "--protect", "last")
        if not self.folder.prefix:
            assert status == 1
            assert "only models with task tokens differ" in caplog.text
            return
        assert status == 0
        assert self.run(given, tmp_path / "first") == 0
        a, b = (np.load(tmp_path / name / "one.npz")["vertices_m"] for name in ("first", "last"))
        assert not np.array_equal(a, b)
        assert json.loads((tmp_path / "last" / "one.json").read_text())["protect"] == "last"

    def test_mediapipe_needs_no_files_and_finds_nothing_in_noise(
        self, tmp_path: Path, given: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        del given["--boxes"]
        assert self.run(given | {"--detector_dir": tmp_path}, tmp_path / "o") == 0
        assert "none found in 3 images" in capsys.readouterr().out
        assert json.loads((tmp_path / "o" / "one.json").read_text())["detector"] == "mediapipe"

    def test_a_detector_without_its_file_says_where_it_belongs(
        self, tmp_path: Path, given: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        del given["--boxes"]
        flags = {"--detector": "yolo", "--detector_dir": tmp_path / "none"}
        assert self.run(given | flags, tmp_path / "out") == 1
        assert "MissingAssetError: the yolo detector was asked for, but" in caplog.text
        assert str(tmp_path / "none") in caplog.text
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("flag", "value", "message"),
        [
            ("--checkpoint", "not.ckpt", "CheckpointError"),
            ("--checkpoint", "missing.ckpt", "MissingAssetError"),
            ("BODY_FLAG", "missing.npz", "MissingAssetError"),
            ("--boxes", "missing.json", "InputError"),
            ("--r", "5y4", "ScheduleError"),
            ("--r", "5x40", "this trunk has 4"),
            ("--method", "none", "MethodError"),
            ("--protect", "middle", "InputError"),
            ("--img_folder", "nowhere", "InputError"),
        ],
    )
    def test_what_cannot_work_is_said_before_anything_is_written(
        self,
        tmp_path: Path,
        given: dict[str, Any],
        caplog: pytest.LogCaptureFixture,
        flag: str,
        value: str,
        message: str,
    ) -> None:
        (tmp_path / "not.ckpt").write_bytes(b"nothing")
        flag = getattr(self.folder, flag, flag)
        value = value if flag in ("--r", "--method", "--protect") else str(tmp_path / value)
        assert self.run(given | {flag: value}, tmp_path / "out") == 1
        assert message in caplog.text
        assert not (tmp_path / "out").exists()

    def test_help_from_the_command_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        done = run_command(self.folder.root / "demo.py", ["--help"], monkeypatch, capsys)
        for flag in (*FLAGS.split(), self.folder.BODY_FLAG):
            assert flag in done.stdout
