"""train.py end to end at toy size: stages grow, interruptions resume, the exported file loads."""

import json
from pathlib import Path

import pytest
import torch
import train
from omegaconf import OmegaConf

from hamer import load_hamer
from shared_tmu.errors import MissingAssetError
from shared_tmu.synth import shards
from shared_tmu.training import data, module, stages
from shared_tmu.training.program import run_published

TOY = {
    "model": {
        "backbone": {"embed_dim": 24, "num_heads": 2, "mlp_ratio": 2, "drop_path_rate": 0.0},
        "decoder": {"depth": 1, "heads": 2, "dim_head": 8, "mlp_dim": 16, "dim": 16, "context_dim": 24},
    },
    "stages": {
        "first": {"depth": 1, "images": 24, "seed": 1, "count": 8, "batch_size": 4, "warmup": 1},
        "second": {"depth": 3, "images": 12, "seed": 1, "count": 8, "batch_size": 4, "warmup": 1},
    },
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run train.py's main on toy sizes, eight pictures per shard."""
    monkeypatch.setattr(shards, "SHARD", 8)
    monkeypatch.setattr(data, "SHARD", 8)
    folder = tmp_path / "out"
    device = {"accelerator": "cpu", "devices": 1, "workers": 0, "draw_processes": 1}
    config = OmegaConf.create(
        {
            **TOY,
            "recipe": "stages",
            "start_from": None,
            "setting": {**device, "val_count": 4, "val_every": 3},
            "out": str(folder),
            "cache": str(tmp_path / "cache"),
            "export_to": str(tmp_path / "export"),
            "export_only": False,
        }
    )

    def go(**changes):
        train.main.__wrapped__(OmegaConf.merge(config, changes))
        return tmp_path / "export"

    return go


def test_trains_grows_and_exports(run, tmp_path):
    folder = run()
    model = load_hamer(folder / "hamer_thin.safetensors")
    assert len(model.backbone.blocks) == 3
    out = model({"img": torch.randn(2, 3, 256, 256)})
    assert out["pred_vertices"].shape == (2, 778, 3)
    record = json.loads((folder / "hamer_thin.training.json").read_text())
    assert [s["images_seen"] for s in record["stages"]] == [24, 12]
    assert record["versions"]["torch"].startswith("2.")
    assert (folder / "hamer_thin.curve.png").stat().st_size > 5000
    names = {p.name for p in folder.iterdir()}
    assert not any("dense" in key for key in model.state_dict())
    assert names >= {"hamer_thin.safetensors", "hamer_thin.yaml", "hamer_thin.curve.csv"}


def test_an_interrupted_stage_goes_on_where_it_stopped(run, tmp_path, monkeypatch):
    real, seen = module.HandTraining.training_step, []
    checkpoint = stages.ModelCheckpoint

    def often(*args, **kwargs):
        return checkpoint(*args, **{**kwargs, "every_n_train_steps": 2})

    def step(self, batch, index):
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
    before = (tmp_path / "export" / "hamer_thin.safetensors").read_bytes()
    seen.clear()
    run()  # everything is done: nothing is trained again
    assert not seen
    assert (tmp_path / "export" / "hamer_thin.safetensors").read_bytes() == before


def test_nothing_to_export_is_said(run):
    with pytest.raises(MissingAssetError, match="run training first"):
        run(export_only=True)


@pytest.mark.parametrize("adversarial", [0.0, 0.0005])
def test_published_recipe_trains_on_and_resumes(run, tmp_path, adversarial):
    weights = run() / "hamer_thin.safetensors"
    published = OmegaConf.load(Path(train.__file__).parent / "configs" / "published.yaml")
    places = {"checkpoint": str(weights), "out": str(tmp_path / "on"), "cache": str(tmp_path / "cache")}
    sizes = {"data_seed": 1, "count": 8, "steps": 3, "batch_size": 4, "workers": 0, "save_every": 1}
    device = {"accelerator": "cpu", "devices": 1, "precision": "32-true"}
    toy = {**places, **sizes, **device, "lr": 1e-3, "losses": {"adversarial": adversarial}}
    run_published(train.PROGRAM, OmegaConf.merge(published, toy))
    first = load_hamer(tmp_path / "on" / "hamer.safetensors").state_dict()
    start = load_hamer(weights).state_dict()
    assert any(not torch.equal(first[k], start[k]) for k in first)
    load_hamer(tmp_path / "on" / "last.ckpt")  # the official container
    run_published(train.PROGRAM, OmegaConf.merge(published, toy, {"steps": 5}))
    second = load_hamer(tmp_path / "on" / "hamer.safetensors").state_dict()
    assert any(not torch.equal(first[k], second[k]) for k in first)


def test_training_goes_on_from_a_file(run, tmp_path):
    first = run()
    start = load_hamer(first / "hamer_thin.safetensors")
    on = {"third": {"depth": 4, "images": 4, "seed": 1, "count": 8, "batch_size": 4, "warmup": 1, "lr": 1e-5}}
    folder = tmp_path / "export2"
    run(
        start_from=str(first / "hamer_thin.safetensors"),
        out=str(tmp_path / "out2"),
        export_to=str(folder),
        stages={"first": None, "second": None, **on},
    )
    model = load_hamer(folder / "hamer_thin.safetensors")
    assert len(model.backbone.blocks) == 4
    img = {"img": torch.randn(2, 3, 256, 256)}
    moved = (model(img)["pred_vertices"] - start(img)["pred_vertices"]).abs().max()
    assert moved < 5e-3  # one tiny step away from where it started
    assert "start_from=" in json.loads((folder / "hamer_thin.training.json").read_text())["command"]
