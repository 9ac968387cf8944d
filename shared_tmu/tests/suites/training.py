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
from shared_tmu.synth import shards
from shared_tmu.training import data, module, stages
from shared_tmu.training.program import read_stages, run_published, take_backbone

from .hands import HandFolder

Run = Callable[..., Path]
STAGES = {
    "first": {"depth": 1, "images": 24, "seed": 1, "count": 8, "batch_size": 4, "warmup": 1},
    "second": {"depth": 3, "images": 12, "seed": 1, "count": 8, "batch_size": 4, "warmup": 1},
}


class TrainingSuite:
    """The two recipes, and what goes wrong."""

    hands: ClassVar[HandFolder]

    @pytest.fixture
    def run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
        """Run train.py's main on toy sizes, eight pictures per shard."""
        monkeypatch.setattr(shards, "SHARD", 8)
        monkeypatch.setattr(data, "SHARD", 8)
        device = {"accelerator": "cpu", "devices": 1, "workers": 0, "draw_processes": 1}
        sizes = {"backbone": {"embed_dim": 24, "num_heads": 2, "mlp_ratio": 2, "drop_path_rate": 0.0}}
        config = OmegaConf.create(
            {
                "model": sizes | self.hands.micro_fields(24),
                "stages": STAGES,
                "recipe": "stages",
                "start_from": None,
                "backbone_from": None,
                "setting": {**device, "val_count": 4, "val_every": 3},
                "out": str(tmp_path / "out"),
                "cache": str(tmp_path / "cache"),
                "export_to": str(tmp_path / "export"),
                "export_only": False,
            }
        )

        def go(**changes: Any) -> Path:
            self.hands.module("train").main.__wrapped__(OmegaConf.merge(config, changes))
            return tmp_path / "export"

        return go

    @property
    def thin(self) -> str:
        return self.hands.train_program.thin

    def test_trains_grows_and_exports(self, run: Run) -> None:
        folder = run()
        model = self.hands.load(folder / f"{self.thin}.safetensors")
        assert len(model.backbone.blocks) == 3
        out = model({"img": torch.randn(2, 3, 256, 256)})
        assert out["pred_vertices"].shape == (2, 778, 3)
        record = json.loads((folder / f"{self.thin}.training.json").read_text())
        assert [s["images_seen"] for s in record["stages"]] == [24, 12]
        assert record["versions"]["torch"].startswith("2.")
        assert (folder / f"{self.thin}.curve.png").stat().st_size > 5000
        assert not any("dense" in key for key in model.state_dict())
        names = {p.name for p in folder.iterdir()}
        assert names >= {f"{self.thin}.{end}" for end in ("safetensors", "yaml", "curve.csv")}

    def test_an_interrupted_stage_goes_on_where_it_stopped(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, seen = module.HandTraining.training_step, []
        checkpoint = stages.ModelCheckpoint

        def often(*args: Any, **kwargs: Any) -> Any:
            return checkpoint(*args, **{**kwargs, "every_n_train_steps": 2})

        def step(self: Any, batch: Any, index: int) -> Any:
            seen.append(self.global_step)
            if len(seen) == 5:
                raise RuntimeError("power cut")
            return real(self, batch, index)

        monkeypatch.setattr(stages, "ModelCheckpoint", often)
        monkeypatch.setattr(module.HandTraining, "training_step", step)
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

    def composed(self, name: str, *changes: str) -> DictConfig:
        """One of the folder's configurations, as `python train.py --config-name NAME` reads it."""
        folder = str(self.hands.root / "configs")
        with initialize_config_dir(folder, version_base="1.3"):
            return compose(name, overrides=list(changes))

    @pytest.mark.parametrize("name", ["train", "more"])
    def test_the_shipped_stages_are_complete(self, name: str) -> None:
        config = self.composed(name, "setting.devices=2")
        assert (config.recipe, config.setting.devices, config.cache) == ("stages", 2, "../data/cache")
        assert read_stages(config)[-1].depth == 32
        model = self.hands.train_program.untrained(config.model, 1)
        assert model.config.backbone.grid == (16, 12)
        source = config.start_from or config.backbone_from
        assert source is None or Path(source).suffix == ".safetensors"

    def test_nothing_to_export_is_said(self, run: Run) -> None:
        with pytest.raises(MissingAssetError, match="run training first"):
            run(export_only=True)

    @pytest.mark.parametrize("adversarial", [0.0, 0.0005])
    def test_published_recipe_trains_on_and_resumes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adversarial: float
    ) -> None:
        monkeypatch.setattr(shards, "SHARD", 8)
        monkeypatch.setattr(data, "SHARD", 8)
        weights, program = tmp_path / "start.safetensors", self.hands.train_program
        self.hands.save(self.hands.tiny(depth=1), weights)
        published = self.composed("published")
        places = {"checkpoint": str(weights), "out": str(tmp_path / "on"), "cache": str(tmp_path / "cache")}
        sizes = {"data_seed": 1, "count": 8, "steps": 3, "batch_size": 4, "workers": 0, "save_every": 1}
        device = {"accelerator": "cpu", "devices": 1, "precision": "32-true"}
        toy = {**places, **sizes, **device, "lr": 1e-3, "losses": {"adversarial": adversarial}}
        run_published(program, OmegaConf.merge(published, toy))
        trained = tmp_path / "on" / f"{program.full}.safetensors"
        first = self.hands.load(trained).state_dict()
        start = self.hands.load(weights).state_dict()
        assert any(not torch.equal(first[k], start[k]) for k in first)
        self.hands.load(tmp_path / "on" / "last.ckpt")  # the official container
        run_published(program, OmegaConf.merge(published, toy, {"steps": 5}))
        second = self.hands.load(trained).state_dict()
        assert any(not torch.equal(first[k], second[k]) for k in first)

    def test_training_goes_on_from_a_file(self, run: Run, tmp_path: Path) -> None:
        first = run(stages={"second": None})
        start = self.hands.load(first / f"{self.thin}.safetensors")
        third = {"depth": 4, "images": 4, "seed": 1, "count": 8, "batch_size": 4, "warmup": 1, "lr": 1e-5}
        folder = tmp_path / "export2"
        run(
            start_from=str(first / f"{self.thin}.safetensors"),
            out=str(tmp_path / "out2"),
            export_to=str(folder),
            stages={"first": None, "second": None, "third": third},
        )
        model = self.hands.load(folder / f"{self.thin}.safetensors")
        assert len(model.backbone.blocks) == 4
        img = {"img": torch.randn(2, 3, 256, 256)}
        moved = (model(img)["pred_vertices"] - start(img)["pred_vertices"]).abs().max()
        assert moved < 5e-3  # one tiny step away from where it started
        record = json.loads((folder / f"{self.thin}.training.json").read_text())
        assert "start_from=" in record["command"]

    def test_a_backbone_of_another_width_is_refused(self, run: Run, tmp_path: Path) -> None:
        self.hands.save(self.hands.tiny(depth=1), tmp_path / "narrow.safetensors")
        with pytest.raises(CheckpointError, match=r"narrow\.safetensors does not fit: 1\d of 1\d weights"):
            run(backbone_from=str(tmp_path / "narrow.safetensors"))

    def test_a_backbone_is_taken_from_what_a_stage_left(self, run: Run, tmp_path: Path) -> None:
        run(stages={"second": None})
        done = tmp_path / "out" / "first" / "done.safetensors"
        vit = self.hands.load(tmp_path / "export" / f"{self.thin}.safetensors").backbone
        trained = {key: value.clone() for key, value in vit.blocks.state_dict().items()}
        for parameter in vit.parameters():
            torch.nn.init.zeros_(parameter)
        take_backbone(vit, done)
        for key, value in vit.blocks.state_dict().items():
            torch.testing.assert_close(value, trained[key], atol=2e-3, rtol=2e-3)  # exported as float16
