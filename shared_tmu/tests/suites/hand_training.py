"""The published recipe, which hand folders have besides stages."""

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from omegaconf import OmegaConf

from shared_tmu.errors import CheckpointError, TMUError
from shared_tmu.synth import shards
from shared_tmu.training import data
from shared_tmu.training.parents import start_model, take_backbone
from shared_tmu.training.photos import PhotoHandTraining
from shared_tmu.training.program import train
from shared_tmu.training.published import HandModule
from shared_tmu.training.tasks import task_of

from .hands import HandFolder
from .training import Run, TrainingSuite


class HandTrainingSuite(TrainingSuite):
    """Both recipes, and what goes wrong."""

    folder: ClassVar[HandFolder]

    @pytest.fixture
    def published(self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
        """Run the published recipe at toy size; returns the file that it writes."""
        monkeypatch.setattr(shards, "SHARD", 8)
        monkeypatch.setattr(data, "SHARD", 8)
        weights, program = tmp_path / "start.safetensors", self.folder.program
        self.folder.save(self.folder.tiny(depth=1), weights)
        places = {"checkpoint": str(weights), "out": str(tmp_path / "on"), "cache": str(cache)}
        sizes = {"data_seed": 1, "count": 8, "steps": 3, "batch_size": 4, "workers": 0, "save_every": 1}
        device = {"accelerator": "cpu", "devices": 1, "precision": "32-true"}
        toy = OmegaConf.merge(self.composed("published"), places, sizes, device, {"lr": 1e-3})

        def go(**changes: Any) -> Path:
            config = OmegaConf.merge(toy, changes)
            train(program, config)
            return Path(config.out) / f"{program.published}.safetensors"

        return go

    @pytest.mark.parametrize("adversarial", [0.0, 0.0005])
    def test_published_recipe_trains_on_and_resumes(
        self, published: Run, tmp_path: Path, adversarial: float
    ) -> None:
        losses = {"adversarial": adversarial}
        trained = published(losses=losses)
        first = self.folder.load(trained).state_dict()
        start = self.folder.load(tmp_path / "start.safetensors").state_dict()
        assert any(not torch.equal(first[k], start[k]) for k in first)
        self.folder.load(tmp_path / "on" / "last.ckpt")  # the official container
        published(losses=losses, steps=5)
        second = self.folder.load(trained).state_dict()
        assert any(not torch.equal(first[k], second[k]) for k in first)

    def test_a_stopped_published_run_ends_as_if_it_had_not_stopped(
        self, published: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[tuple[int, list[int]]] = []
        training = HandModule.training_step

        def step(self: HandModule, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
            seen.append((self.global_step, batch["number"].tolist()))
            if len(seen) == cut:
                raise RuntimeError("power cut")
            return training(self, batch, index)

        monkeypatch.setattr(HandModule, "training_step", step)
        asked = {"losses": {"adversarial": 0.0}, "steps": 5, "save_every": 2}
        cut = 0
        want = self.folder.load(published(**asked, out=str(tmp_path / "whole"))).state_dict()
        whole = list(seen)
        for first in (0, 2):  # two batches see all eight pictures
            assert sorted(whole[first][1] + whole[first + 1][1]) == list(range(8))
        seen.clear()
        cut = 4
        with pytest.raises(RuntimeError, match="power cut"):
            published(**asked)
        published(**{**asked, "steps": 4})
        trained = published(**asked)
        assert seen[-3:] == whole[2:]
        found = self.folder.load(trained).state_dict()
        assert all(torch.equal(value, want[key]) for key, value in found.items())
        last = torch.load(trained.with_name("last.ckpt"), weights_only=True)
        assert last["global_step"] == 5

    def test_a_published_run_goes_on_only_as_it_was_begun(self, published: Run, tmp_path: Path) -> None:
        published(losses={"adversarial": 0.0}, steps=2)
        other, model = tmp_path / "other.safetensors", self.folder.tiny(depth=1)
        with torch.no_grad():
            self.folder.vit(model).blocks[0].norm1.weight.mul_(2)
        self.folder.save(model, other)
        for changes, told in (
            ({"lr": 0.5}, r"holds a run with lr=0\.001, but 0\.5 was asked for"),
            ({"seed": 7}, "holds a run with seed=0, but 7"),
            ({"data_seed": 3}, "holds a run with data_seed=1, but 3"),
            ({"losses": {"adversarial": 0.0, "betas": 0.5}}, "holds a run with losses="),
            ({"checkpoint": str(other)}, "holds a run for other weights"),
            ({"steps": 1}, r"has done 2: use 2 or more"),
        ):
            with pytest.raises(TMUError, match=told):
                published(**{"losses": {"adversarial": 0.0}, "steps": 2, **changes})
        (tmp_path / "on" / "recipe.json").unlink()
        with pytest.raises(CheckpointError, match=r"holds a run without recipe\.json"):
            published(losses={"adversarial": 0.0}, steps=2)

    def test_a_backbone_of_another_width_is_refused(self, run: Run, tmp_path: Path) -> None:
        self.folder.save(self.folder.tiny(depth=1), tmp_path / "narrow.safetensors")
        with pytest.raises(CheckpointError, match=r"narrow\.safetensors does not fit: 1\d of 1\d weights"):
            run(backbone_from=str(tmp_path / "narrow.safetensors"))

    def test_a_backbone_is_taken_from_what_a_stage_left(self, run: Run, tmp_path: Path) -> None:
        run(stages={"second": None})
        done = tmp_path / "out" / "first" / "done.safetensors"
        vit = self.folder.load(tmp_path / "export" / f"{self.thin}.safetensors").backbone
        trained = {key: value.clone() for key, value in vit.blocks.state_dict().items()}
        for parameter in vit.parameters():
            torch.nn.init.zeros_(parameter)
        take_backbone(vit, done)
        for key, value in vit.blocks.state_dict().items():
            torch.testing.assert_close(value, trained[key], atol=2e-3, rtol=2e-3)  # exported as float16

    def test_of_a_grown_backbone_the_blocks_before_growth_are_taken(self, tmp_path: Path) -> None:
        deep, shallow = (self.folder.vit(self.folder.tiny(depth=depth)) for depth in (3, 2))
        torch.save({f"backbone.{k}": v for k, v in deep.state_dict().items()}, tmp_path / "deep.ckpt")
        take_backbone(shallow, tmp_path / "deep.ckpt")
        for mine, theirs in ((0, 0), (1, 2)):
            for key, value in shallow.blocks[mine].state_dict().items():
                torch.testing.assert_close(value, deep.blocks[theirs].state_dict()[key], atol=0, rtol=0)

    def test_a_model_may_go_on_with_the_backbone_of_another(self, run: Run, tmp_path: Path) -> None:
        one, other = (self.folder.tiny(depth=depth) for depth in (1, 2))
        self.folder.save(one, tmp_path / "one.safetensors", torch.float32)
        self.folder.save(other, tmp_path / "other.safetensors", torch.float32)
        model = start_model(
            task_of(self.folder.program.estimates),
            lambda: self.folder.tiny(depth=2),
            self.folder.load,
            tmp_path / "one.safetensors",
            tmp_path / "other.safetensors",
        )
        assert model is not None
        theirs = other.state_dict()
        for key, value in model.state_dict().items():
            of_backbone = key.startswith(("backbone.blocks.", "backbone.pos_embed", "backbone.patch_embed."))
            want = theirs[key] if of_backbone else one.state_dict().get(key, theirs[key])
            torch.testing.assert_close(value, want, atol=0, rtol=0)

    def test_photographs_are_learned_from_and_told_of(self, run: Run, tmp_path: Path) -> None:
        photos = tmp_path / "photos"
        photos.mkdir()
        sample = sorted((self.folder.root.parent / "assets" / "samples").glob("*.jpg"))[0]
        shutil.copy(sample, photos)
        seen: list[dict[str, float]] = []
        training = PhotoHandTraining.training_step

        def step(self: PhotoHandTraining, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
            seen.append({key: float(value.detach()) for key, value in self.losses(batch)[0].items()})
            assert (len(batch["img"]), len(batch["photo_img"])) == (3, 1)
            return training(self, batch, index)

        with pytest.MonkeyPatch.context() as patches:
            patches.setattr(PhotoHandTraining, "training_step", step)
            folder = run(photos=str(photos), photos_share=0.25, stages={"second": None})
        assert all(losses[f"photo_{key}"] > 0 for losses in seen for key in ("keypoints_2d", "heat", "place"))
        record = json.loads((folder / f"{self.thin}.training.json").read_text())
        told = record["photographs"]
        assert (told["pictures"], told["share"]) == (1, 0.25)
        assert told["hands"] >= 1
        assert str(tmp_path) not in json.dumps(record)
