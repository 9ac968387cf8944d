"""Merging a folder's layers end to end: a tiny model in which one block does nothing, on a tiny set."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from shared_tmu.bench import cli
from shared_tmu.errors import ScheduleError
from shared_tmu.evaluation.budget import merging_layers
from shared_tmu.files.checkpoints import read_metadata
from shared_tmu.layers import BlocksOf, merge_layers, read_recipe

from .folders import ModelFolder

DEPTH, IDLE = 4, 2


class LayerSuite:
    """The command, its file, and what can be done with it."""

    folder: ClassVar[ModelFolder]

    @pytest.fixture(scope="class")
    @classmethod
    def checkpoint(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        model = cls.folder.tiny(depth=DEPTH)
        block = cls.folder.vit(model).blocks[IDLE]
        for linear in (block.attn.proj, block.mlp.fc2):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        path = tmp_path_factory.mktemp("weights") / "idle.safetensors"
        cls.folder.save(model, path)
        return path

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
        root = tmp_path_factory.mktemp("data")
        return ("--dataset", cls.folder.SET, "--data_dir", root, *cls.folder.write_set(root, 3))

    def merge(self, *flags: Any) -> int:
        return merging_layers.main(self.folder.program, [*map(str, flags), "--device", "cpu"])

    def test_the_idle_block_goes_and_the_file_is_an_ordinary_model(
        self,
        tmp_path: Path,
        checkpoint: Path,
        data: tuple[Any, ...],
        capsys: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        before = checkpoint.read_bytes()
        out = tmp_path / "shorter.safetensors"
        given = (*data, "--checkpoint", checkpoint, "--out", out, "--threshold", "1e-4", "--check", "none")
        assert self.merge(*given) == 0
        assert checkpoint.read_bytes() == before
        recipe = read_recipe(read_metadata(out), "it")
        assert recipe is not None
        assert any(first <= IDLE and last >= IDLE + 1 for first, last in recipe.partition)
        told = json.loads(out.with_suffix(".layers.json").read_text())
        assert (told["layers_before"], told["layers"], len(told["trials"])) == (
            DEPTH,
            recipe.depth,
            DEPTH - 1,
        )
        assert told["error_mm"] - told["base_mm"] < 1e-4

        out.with_suffix(".yaml").unlink()  # the file tells its depth itself
        shorter, whole = self.folder.load(out), self.folder.load(checkpoint)
        assert len(self.folder.vit(shorter).blocks) == recipe.depth
        place = BlocksOf(whole, f"{self.folder.PART}.blocks")
        same = merge_layers(place, recipe.partition)
        img = self.folder.images(1)
        with torch.inference_mode():
            torch.testing.assert_close(*(self.folder.run(m, img)["features"] for m in (shorter, same)))
        with pytest.raises(ScheduleError, match=f"has {recipe.depth}"):
            self.folder.tmu.patch(shorter, f"1x{DEPTH}")

        other = (*data, "--checkpoint", checkpoint, "--threshold", "2e-4", "--check", "none")
        for again in (given, (*other, "--out", tmp_path / "other.safetensors")):  # another threshold, too
            caplog.clear()
            assert self.merge(*again) == 0
            assert f"{DEPTH} of {DEPTH} errors were known" in caplog.text
        assert str(out) in capsys.readouterr().out

        timed = (
            "--checkpoint",
            out,
            "--r",
            "20x2",
            "--batch",
            1,
            "--rounds",
            1,
            "--warmup",
            0,
            "--device",
            "cpu",
        )
        assert cli.main(self.folder.program, [*map(str, timed)]) == 0
        assert "shorter" in capsys.readouterr().out
        self.check_evaluations(tmp_path, checkpoint, data, out, told)

    def check_evaluations(
        self, results: Path, checkpoint: Path, data: tuple[Any, ...], out: Path, told: dict[str, Any]
    ) -> None:
        """eval.py with the file as weights, and beside the model that it was made of: with masks, too."""
        shared = (*data, "--results", results, "--device", "cpu", "--rounds", 0, "--batch_size", 16)
        alone = ("--checkpoint", out, "--r", "off,20x2", "--mask", "none,box")
        beside = (*alone[2:], "--checkpoint", checkpoint, "--layers", f"none,{out}")
        evaluate = self.folder.module("eval").run
        assert evaluate([*map(str, (*shared, *alone))]) == 0
        assert evaluate([*map(str, (*shared, *beside))]) == 0
        lines = (results / f"{self.folder.slug}-{self.folder.SET}.jsonl").read_text().splitlines()
        found = {(line["checkpoint"], line["label"]): line for line in map(json.loads, lines)}
        assert len(found) == 9
        base, shorter = found["idle.safetensors", "off"], found["shorter.safetensors", "off"]
        assert base[told["metric"]] == pytest.approx(told["base_mm"], abs=1e-3)
        assert shorter[told["metric"]] == pytest.approx(told["error_mm"], abs=1e-3)
        twins = [line for (_, label), line in found.items() if "layers" in label]
        assert [line["layers"]["partition"] for line in twins] == [told["partition"]] * 3
        assert len({line[told["metric"]] for line in twins}) == 3
        for line in twins:
            alike = found["shorter.safetensors", line["label"].partition(f"-{told['layers']}-layers")[0]]
            assert line[told["metric"]] == pytest.approx(alike[told["metric"]], abs=1e-3)
            assert line["tokens_kept"] == alike["tokens_kept"]

    def test_what_cannot_be_merged_is_said(
        self,
        tmp_path: Path,
        checkpoint: Path,
        data: tuple[Any, ...],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        given = (*data, "--checkpoint", checkpoint, "--check", "none", "--threshold", "1e6")
        out = tmp_path / "shorter.safetensors"
        assert self.merge(*given, "--out", out) == 1
        assert "every trial passed" in caplog.text
        assert "--flush" in caplog.text
        assert not out.exists()
        assert self.merge(*given, "--out", out, "--flush") == 0
        assert len(self.folder.vit(self.folder.load(out)).blocks) == 1
        before, linked = checkpoint.read_bytes(), tmp_path / "linked.safetensors"
        linked.symlink_to(checkpoint)
        for own in (checkpoint, linked):
            assert self.merge(*given, "--out", own, "--flush") == 1
            assert f"--out {own} would write over" in caplog.text
        assert checkpoint.read_bytes() == before
        assert self.merge(*given, "--out", tmp_path / "shorter.ckpt") == 1
        own = self.folder.program.estimates.calibration
        assert self.merge(*data, "--checkpoint", checkpoint, "--check", f"{self.folder.SET},{own}") == 1
        assert "names several sets: name one other set, or none" in caplog.text
        assert self.merge(*given, "--out", out, "--metric", "beauty") == 1
        assert "use one of pa_mpvpe_mm" in caplog.text
        assert self.folder.module("eval").run(["--layers", str(checkpoint)]) == 1
        assert "does not tell which layers were merged" in caplog.text
        flags = ("--layers", out, "--limit", 1, "--results", tmp_path, "--device", "cpu")
        assert self.folder.module("eval").run([*map(str, flags)]) == 1
        assert "how the blocks of other weights were merged" in caplog.text
