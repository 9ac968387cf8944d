"""A folder's `eval.py` end to end: a tiny model with random weights on a tiny set in FreiHAND's layout."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

from shared_tmu.body_models.mano import load_mano

from .hands import HandFolder

COUNT = 5
LINE = (
    "model", "dataset", "schedule", "method", "unmerge", "pa_mpvpe_mm", "pa_mpjpe_mm", "images_per_s",
    "speedup", "tokens_kept", "device", "dtype", "versions", "commit",
)  # fmt: skip


class EvalSuite:
    """Accuracy, tables and errors."""

    hands: ClassVar[HandFolder]

    @pytest.fixture(scope="class")
    @classmethod
    def checkpoint(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
        cls.hands.save(cls.hands.tiny(depth=3, scale=0.9), path)
        return path

    @pytest.fixture(scope="class")
    @classmethod
    def data_dir(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Truth is the hand at rest, moved about; pictures are noise."""
        root = tmp_path_factory.mktemp("data") / "FreiHAND_pub_v2_eval"
        images = root / "evaluation" / "rgb"
        images.mkdir(parents=True)
        rng = np.random.default_rng(0)
        mano = load_mano()
        verts = np.stack([mano.v_template + np.array([0, 0, 0.6 + 0.01 * i]) for i in range(COUNT)])
        joints = np.stack([mano.J_regressor @ v for v in verts])
        xyz = np.concatenate([joints, verts[:, [744, 320, 443, 554, 671]]], axis=1)
        camera = [[480.0, 0, 112], [0, 480, 112], [0, 0, 1]]
        for i in range(COUNT):
            picture = rng.integers(0, 256, (28, 28, 3), dtype=np.uint8)
            cv2.imwrite(str(images / f"{i:08d}.jpg"), cv2.resize(picture, (224, 224)))
        for name, values in (("K", [camera] * COUNT), ("xyz", xyz.tolist()), ("verts", verts.tolist())):
            (root / f"evaluation_{name}.json").write_text(json.dumps(values))
        return root.parent

    @pytest.fixture
    def given(self, checkpoint: Path, data_dir: Path, tmp_path: Path) -> tuple[Any, ...]:
        flags = ("--dataset", "freihand", "--data_dir", data_dir, "--checkpoint", checkpoint)
        return (*flags, "--results", tmp_path, "--device", "cpu")

    def run(self, *flags: Any) -> int:
        return self.hands.module("eval").run([*map(str, flags)])

    def lines(self, folder: Path) -> list[dict[str, Any]]:
        text = (folder / f"{self.hands.slug}-freihand.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def test_schedules_methods_and_merge_only(
        self, tmp_path: Path, given: tuple[Any, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        flags = (*given, "--dataset", "FREIHAND-VAL", "--rounds", 1, "--batch_size", 2)
        assert self.run(*flags, "--r", "off,20x3,40x1+10x2", "--method", "tome,random") == 0
        assert self.run(*flags, "--r", "20x3", "--no-unmerge") == 0
        lines, prefix = self.lines(tmp_path), self.hands.prefix
        assert [(x["label"], x["tokens_kept"] - prefix) for x in lines] == [
            ("off", 192), ("20x3", 132), ("40x1+10x2", 132), ("random-20x3", 132),
            ("random-40x1+10x2", 132), ("20x3-merge-only", 132),
        ]  # fmt: skip
        for line in lines:
            assert set(LINE) <= set(line)
            assert line["model"] == self.hands.name
            assert line["n"] == COUNT
        assert len({line["pa_mpvpe_mm"] for line in lines}) == len(lines)
        xyz, verts = json.loads((tmp_path / lines[1]["files"] / "pred.json").read_text())
        assert np.shape(xyz) == (COUNT, 21, 3)
        assert np.shape(verts) == (COUNT, 778, 3)
        assert "speed-up" in capsys.readouterr().out

    def test_protecting_first_and_last_side_by_side(
        self, tmp_path: Path, given: tuple[Any, ...], caplog: pytest.LogCaptureFixture
    ) -> None:
        status = self.run(*given, "--rounds", 0, "--r", "off,20x3", "--protect", "first,last")
        if not self.hands.prefix:
            assert status == 1
            assert "only models with task tokens differ" in caplog.text
            return
        assert status == 0
        lines = self.lines(tmp_path)
        assert [line["label"] for line in lines] == ["off", "20x3", "20x3-protect-last"]
        assert [line["protect"] for line in lines] == ["first", "first", "last"]
        assert lines[1]["pa_mpvpe_mm"] != lines[2]["pa_mpvpe_mm"]

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_half_precision(self, tmp_path: Path, given: tuple[Any, ...], dtype: str) -> None:
        assert self.run(*given, "--rounds", 0, "--dtype", dtype, "--r", "20x3") == 0
        (line,) = self.lines(tmp_path)
        assert line["dtype"] == dtype

    def test_a_schedule_for_more_layers_is_refused_first(
        self, tmp_path: Path, given: tuple[Any, ...], caplog: pytest.LogCaptureFixture
    ) -> None:
        assert self.run(*given, "--r", "off,10x40") == 1
        assert "names 40 layers, this trunk has 3" in caplog.text
        assert not (tmp_path / f"{self.hands.slug}-freihand.jsonl").exists()

    def test_missing_data_and_weights(
        self, tmp_path: Path, given: tuple[Any, ...], caplog: pytest.LogCaptureFixture
    ) -> None:
        assert self.run(*given, "--data_dir", tmp_path) == 1
        assert "evaluation_xyz.json" in caplog.text
        (tmp_path / "not.ckpt").write_bytes(b"nothing")
        assert self.run(*given, "--checkpoint", tmp_path / "not.ckpt") == 1
        assert "CheckpointError" in caplog.text
        assert self.run(*given, "--mano_path", tmp_path / "MANO_RIGHT.pkl") == 1
        assert "MANO_RIGHT.pkl" in caplog.text

    def test_help_from_the_command_line(self) -> None:
        done = subprocess.run(
            [sys.executable, "eval.py", "--help"],
            cwd=self.hands.root, capture_output=True, text=True, check=True,
        )  # fmt: skip
        flags = "--dataset --data_dir --protect --r --method --no-unmerge --checkpoint --mano_path"
        for flag in flags.split():
            assert flag in done.stdout
