"""A folder's `train.py` end to end at toy size: stages grow, interruptions resume, exported files load."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from shared_tmu.errors import CheckpointError, MissingAssetError
from shared_tmu.evaluation.run_lists import read_runs
from shared_tmu.masks import TokenProbe
from shared_tmu.synth import shards
from shared_tmu.training import data
from shared_tmu.training.building import untrained
from shared_tmu.training.program import train
from shared_tmu.training.recipes import StagesRecipe, check_stages, read_recipe
from shared_tmu.training.tasks import task_of

from .folders import ModelFolder

Run = Callable[..., Path]
STAGES = {
    "first": {"depth": 1, "images": 24, "seed": 1, "count": 8, "batch_size": 4, "warmup": 1},
    "second": {"depth": 3, "images": 12, "seed": 1, "count": 8, "batch_size": 4, "warmup": 1},
}


NEVER_SHIPPED = ("trial",)
"""Configurations that compare settings: their models need not have every block."""


class TrainingSuite:
    """The two recipes, and what goes wrong."""

    folder: ClassVar[ModelFolder]

    @pytest.fixture(scope="class")
    @classmethod
    def cache(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Pictures, drawn once for all tests."""
        return tmp_path_factory.mktemp("cache")

    @pytest.fixture
    def run(self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
        """Run train.py's main on toy sizes, eight pictures per shard."""
        monkeypatch.setattr(shards, "SHARD", 8)
        monkeypatch.setattr(data, "SHARD", 8)
        device = {"accelerator": "cpu", "devices": 1, "workers": 0, "draw_processes": 1}
        config = OmegaConf.create(
            {
                "model": self.folder.training_sizes(),
                "stages": STAGES,
                "recipe": "stages",
                "start_from": None,
                "backbone_from": None,
                "setting": {**device, "val_count": 4, "val_every": 3, "save_every": 2},
                "out": str(tmp_path / "out"),
                "cache": str(cache),
                "export_to": str(tmp_path / "export"),
                "export_only": False,
            }
        )

        def go(**changes: Any) -> Path:
            train(self.folder.program, OmegaConf.merge(config, changes))
            return tmp_path / "export"

        return go

    @property
    def thin(self) -> str:
        return self.folder.program.default_checkpoint.stem

    def test_trains_grows_and_exports(self, run: Run) -> None:
        folder = run()
        model = self.folder.load(folder / f"{self.thin}.safetensors")
        assert len(self.folder.vit(model).blocks) == 3
        out = model({"img": self.folder.images(2)})
        assert out[self.folder.vertices].shape == (2, *self.folder.SHAPES[self.folder.vertices])
        record = json.loads((folder / f"{self.thin}.training.json").read_text())
        assert [s["images_seen"] for s in record["stages"]] == [24, 12]
        assert record["photographs"] is None
        assert record["versions"]["torch"].startswith("2.")
        assert all(value > 0 for name, value in record["validation"]["last"].items() if name.endswith("_mm"))
        assert (folder / f"{self.thin}.curve.png").stat().st_size > 5000
        assert not any("dense" in key for key in model.state_dict())
        names = {p.name for p in folder.iterdir()}
        assert names >= {f"{self.thin}.{end}" for end in ("safetensors", "yaml", "curve.csv")}

    def test_everything_that_learns_has_a_gradient_in_every_step(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        training = task_of(self.folder.program.estimates).training
        without: list[list[str]] = []

        def look(self: Any) -> None:
            learning = ((name, p) for name, p in self.named_parameters() if p.requires_grad)
            without.append([name for name, p in learning if p.grad is None])

        monkeypatch.setattr(training, "on_after_backward", look)
        run(stages={"first": {"keep_patches": 96, "full_share": 0.5}})
        assert without == [[]] * 9, "training on several devices waits for these"

    def test_the_options_of_a_stage_go_together_and_are_exported(self, run: Run) -> None:
        options = {"keep_patches": 96, "full_share": 0.5, "hard_share": 0.5, "silhouette_block": 0}
        part = self.folder.program.estimates.backbone
        folder = run(stages={"first": options, "second": None}, model={part: {"stem": "conv"}})
        model = self.folder.load(folder / f"{self.thin}.safetensors")
        vit = self.folder.vit(model)
        assert vit.config.stem == "conv"
        out = model({"img": self.folder.images(2)})
        assert out[self.folder.vertices].isfinite().all()
        path = folder / f"{self.thin}.probe.safetensors"
        probe, facts = TokenProbe.load(path)
        probe.require_fit(facts, vit, path)
        assert probe.block == 0
        assert facts.measured["held_out"] == 4
        record = json.loads((folder / f"{self.thin}.training.json").read_text())
        assert record["stages"][0]["hard_share"] == 0.5

    def test_an_interrupted_stage_goes_on_where_it_stopped(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        training = task_of(self.folder.program.estimates).training
        real, seen = training.training_step, []

        def step(self: Any, batch: Any, index: int) -> Any:
            seen.append(self.global_step)
            if len(seen) == 5:
                raise RuntimeError("power cut")
            return real(self, batch, index)

        monkeypatch.setattr(training, "training_step", step)
        with pytest.raises(RuntimeError, match="power cut"):
            run()
        assert (tmp_path / "out" / "first" / "last.ckpt").exists()
        assert not (tmp_path / "out" / "first" / "done.safetensors").exists()
        run(export_only=True)  # whatever has been reached can be used at any time
        seen.clear()
        seen.extend([-1] * 6)
        run()
        assert seen[6] == 4  # four steps were saved
        assert (tmp_path / "out" / "second" / "done.safetensors").exists()
        before = (tmp_path / "export" / f"{self.thin}.safetensors").read_bytes()
        seen.clear()
        run()  # everything is done: nothing is trained again
        assert not seen
        assert (tmp_path / "export" / f"{self.thin}.safetensors").read_bytes() == before

    @pytest.mark.parametrize("method", ["crossget", "diffrate"])
    def test_what_a_method_learns_trains_and_is_used(
        self, method: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shards, "SHARD", 8)
        monkeypatch.setattr(data, "SHARD", 8)
        program, weights = self.folder.program, tmp_path / "start.safetensors"
        self.folder.save(self.folder.tiny(depth=2), weights)
        toy = {
            **{"checkpoint": str(weights), "out": str(tmp_path / "out"), "cache": str(cache), "r": "20x2"},
            **{"data_seed": 1, "count": 8, "val_seed": 900_000, "val_count": 4, "images": 8, "batch_size": 4},
            **{"workers": 0, "draw_processes": 1, "difficulty": {}},
        }
        train(program, OmegaConf.merge(self.composed("learned", f"method={method}"), toy))
        file = tmp_path / "out" / f"start.{method}.safetensors"
        assert file.stat().st_size < 100_000
        (tmp_path / file.name).write_bytes(file.read_bytes())
        schedule = "learned" if method == "diffrate" else "20x2"
        (run,) = read_runs(schedule, method, unmerge=True, checkpoint=weights)
        assert run.learned == tmp_path / file.name
        model = self.folder.load(weights)
        with run.patched(program, model, record=True) as handle:
            model({"img": self.folder.images(1)})
            assert handle.plan.num_slots < handle.plan.num_tokens
        other = self.folder.tiny(depth=2)
        with torch.no_grad():
            self.folder.vit(other).blocks[0].norm1.weight.mul_(2)
        with pytest.raises(CheckpointError, match="was trained for other weights"):
            run.check(program, other)

    def composed(self, name: str, *changes: str) -> DictConfig:
        """One of the folder's configurations, as `python train.py --config-name NAME` reads it."""
        folder = str(self.folder.root / "configs")
        with initialize_config_dir(folder, version_base="1.3"):
            return compose(name, overrides=list(changes))

    def stage_files(self) -> list[str]:
        """Configurations of stages in the folder: those that build on its `base`."""
        files = sorted((self.folder.root / "configs").glob("*.yaml"))
        return [path.stem for path in files if "\n  - base\n" in path.read_text(encoding="utf-8")]

    def test_the_shipped_stages_are_complete(self) -> None:
        assert "train" in self.stage_files()
        for name in self.stage_files():
            self.check_stages(name)

    def check_stages(self, name: str) -> None:
        """One of them composes to a model of the published geometry."""
        config = self.composed(name, "setting.devices=2")
        assert (config.recipe, config.setting.devices, config.cache) == ("stages", 2, "../data/cache")
        recipe = read_recipe(config)
        assert isinstance(recipe, StagesRecipe)
        assert recipe.run[-1].depth == 32 or name in NEVER_SHIPPED
        check_stages(recipe.run, recipe.setting)
        model = untrained(self.folder.program, recipe.model, 1)
        assert self.folder.vit(model.config).grid == (16, 12)
        source = recipe.start_from or recipe.backbone_from
        assert source is None or Path(source).suffix == ".safetensors"

    def test_training_goes_on_from_the_blocks_before_growth(self, run: Run, tmp_path: Path) -> None:
        grown = run()
        start = self.folder.load(grown / f"{self.thin}.safetensors")
        again = {"depth": 1, "images": 4, "seed": 1, "count": 8, "batch_size": 4, "warmup": 1, "lr": 1e-6}
        folder = tmp_path / "export2"
        run(
            start_from=str(grown / f"{self.thin}.safetensors"),
            out=str(tmp_path / "out2"),
            export_to=str(folder),
            stages={"first": None, "second": None, "again": again},
        )
        blocks = self.folder.vit(self.folder.load(folder / f"{self.thin}.safetensors")).blocks
        assert len(blocks) == 1
        first = self.folder.vit(start).blocks[0].state_dict()
        for key, value in blocks[0].state_dict().items():
            torch.testing.assert_close(value, first[key], atol=2e-3, rtol=2e-3)  # exported as float16

    def test_nothing_to_export_is_said(self, run: Run) -> None:
        with pytest.raises(MissingAssetError, match="run training first"):
            run(export_only=True)

    def test_training_goes_on_from_a_file(self, run: Run, tmp_path: Path) -> None:
        first = run(stages={"second": None})
        start = self.folder.load(first / f"{self.thin}.safetensors")
        third = {"depth": 4, "images": 4, "seed": 1, "count": 8, "batch_size": 4, "warmup": 1, "lr": 1e-5}
        folder = tmp_path / "export2"
        run(
            start_from=str(first / f"{self.thin}.safetensors"),
            out=str(tmp_path / "out2"),
            export_to=str(folder),
            stages={"first": None, "second": None, "third": third},
        )
        model = self.folder.load(folder / f"{self.thin}.safetensors")
        assert len(self.folder.vit(model).blocks) == 4
        img, vertices = {"img": self.folder.images(2)}, self.folder.vertices
        before = start(img)[vertices]
        moved = (model(img)[vertices] - before).abs() / (1 + before.abs())
        assert moved.max() < 5e-3  # one tiny step away from where it started
        record = json.loads((folder / f"{self.thin}.training.json").read_text())
        assert "start_from=" in record["command"]
