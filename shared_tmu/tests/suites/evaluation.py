"""A folder's `eval.py` end to end: a tiny model with random weights on a tiny set in a published layout."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from commands import run_command

from shared_tmu.evaluation.per_sample import read_per_sample

from .folders import ModelFolder

COUNT = 3
LINE = (
    "model", "dataset", "schedule", "method", "unmerge", "pa_mpvpe_mm", "pa_mpjpe_mm", "images_per_s",
    "speedup", "tokens_kept", "device", "dtype", "versions", "commit",
)  # fmt: skip


class EvalSuite:
    """Accuracy, tables and errors."""

    folder: ClassVar[ModelFolder]

    @pytest.fixture(scope="class")
    @classmethod
    def checkpoint(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
        cls.folder.save(cls.folder.tiny(depth=3), path)
        return path

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
        """Flags that name a tiny set in a published layout: truth is at rest, pictures are noise."""
        root = tmp_path_factory.mktemp("data")
        return ("--dataset", cls.folder.SET, "--data_dir", root, *cls.folder.write_set(root, COUNT))

    @pytest.fixture
    def given(self, checkpoint: Path, data: tuple[Any, ...], tmp_path: Path) -> tuple[Any, ...]:
        return (*data, "--checkpoint", checkpoint, "--results", tmp_path, "--device", "cpu")

    def run(self, *flags: Any) -> int:
        return self.folder.module("eval").run([*map(str, flags)])

    def lines(self, folder: Path) -> list[dict[str, Any]]:
        text = (folder / f"{self.folder.slug}-{self.folder.SET}.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def test_schedules_methods_and_merge_only(
        self, tmp_path: Path, given: tuple[Any, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        flags = (*given, "--dataset", self.folder.SET.upper(), "--rounds", 1, "--batch_size", 2)
        assert self.run(*flags, "--r", "off,20x3,40x1+10x2", "--method", "tome,random") == 0
        assert self.run(*flags, "--r", "20x3", "--no-unmerge") == 0
        lines, prefix = self.lines(tmp_path), self.folder.prefix
        assert [(x["label"], x["tokens_kept"] - prefix) for x in lines] == [
            ("off", 192), ("20x3", 132), ("40x1+10x2", 132), ("random-20x3", 132),
            ("random-40x1+10x2", 132), ("20x3-merge-only", 132),
        ]  # fmt: skip
        for line in lines:
            assert {*LINE, *self.folder.LINE} <= set(line)
            assert line["model"] == self.folder.name
            assert line["n"] == COUNT
        assert len({line["pa_mpvpe_mm"] for line in lines}) == len(lines)
        per_sample = read_per_sample(tmp_path / lines[1]["files"])
        assert len(per_sample.samples) == COUNT
        assert all(len(values) == COUNT for values in per_sample.errors.values())
        assert "speed-up" in capsys.readouterr().out

    def test_protecting_first_and_last_side_by_side(
        self, tmp_path: Path, given: tuple[Any, ...], caplog: pytest.LogCaptureFixture
    ) -> None:
        status = self.run(*given, "--rounds", 0, "--r", "off,20x3", "--protect", "first,last")
        if not self.folder.prefix:
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

    def test_the_same_command_again_does_nothing_twice(
        self, tmp_path: Path, given: tuple[Any, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(*given, "--rounds", 0, "--r", "20x3") == 0
        before = self.lines(tmp_path)
        capsys.readouterr()
        assert self.run(*given, "--rounds", 0, "--r", "off,20x3") == 0
        assert "1 of 2 rows are from an earlier run" in capsys.readouterr().out
        assert self.lines(tmp_path)[0] == before[0]

    def test_a_schedule_for_more_layers_is_refused_first(
        self, tmp_path: Path, given: tuple[Any, ...], caplog: pytest.LogCaptureFixture
    ) -> None:
        assert self.run(*given, "--r", "off,10x40") == 1
        assert "names 40 layers, this trunk has 3" in caplog.text
        assert not (tmp_path / f"{self.folder.slug}-{self.folder.SET}.jsonl").exists()

    def test_missing_data_and_weights(
        self, tmp_path: Path, given: tuple[Any, ...], caplog: pytest.LogCaptureFixture
    ) -> None:
        assert self.run(*given, "--data_dir", tmp_path) == 1
        assert self.folder.SET_FILE in caplog.text
        (tmp_path / "not.ckpt").write_bytes(b"nothing")
        assert self.run(*given, "--checkpoint", tmp_path / "not.ckpt") == 1
        assert "CheckpointError" in caplog.text
        assert self.run(*given, self.folder.BODY_FLAG, tmp_path / "missing.pkl") == 1
        assert "missing.pkl is not in" in caplog.text

    def test_help_from_the_command_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        done = run_command(self.folder.root / "eval.py", ["--help"], monkeypatch, capsys)
        flags = "--dataset --data_dir --protect --r --method --no-unmerge --checkpoint --rounds --fresh"
        for flag in (*flags.split(), self.folder.BODY_FLAG):
            assert flag in done.stdout
