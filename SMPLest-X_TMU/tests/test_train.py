"""train.py end to end at toy size: labels agree with the body model, stages grow, the file loads."""

import json

import pytest
import torch
import train
from omegaconf import OmegaConf

from shared_tmu.body_models import load_smplx
from shared_tmu.body_models.smplx_layer import SmplxLayer
from shared_tmu.body_models.smplx_model import NUM_CONTOUR
from shared_tmu.errors import ConfigError
from shared_tmu.synth import shards
from shared_tmu.synth.scene import Difficulty
from shared_tmu.training import data
from shared_tmu.training.body import fit_translation, project, true_body
from shared_tmu.training.body_data import SynthBodySet
from smplest_x import load_smplest_x

TOY = {
    "model": {
        "encoder": {"embed_dim": 24, "num_heads": 2, "mlp_ratio": 2, "drop_path_rate": 0.0},
        "decoder": {
            "depth": 1, "heads": 2, "dim_head": 4, "mlp_dim": 8, "dim": 24, "context_dim": 24, "dim_out": 4,
        },
    },
    "stages": {
        "first": {"depth": 1, "images": 12, "seed": 1, "count": 4, "batch_size": 2, "warmup": 1},
        "second": {"depth": 3, "images": 4, "seed": 1, "count": 4, "batch_size": 2, "warmup": 1},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Four pictures per shard, drawn once."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(shards, "SHARD", 4)
        patches.setattr(data, "SHARD", 4)
        yield tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("augment", [False, True])
def test_labels_pose_the_body_that_is_in_the_picture(cache, augment):
    torch.manual_seed(0)
    people = SynthBodySet(cache, 1, 4, Difficulty(), augment)
    samples = [people[i] for i in range(4)]
    batch = {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
    assert batch["img"].shape == (4, 3, 256, 192)
    assert 0 <= batch["img"].min() <= batch["img"].max() <= 1
    truth = true_body(batch, SmplxLayer(load_smplx()))
    relative = [points - points[:, :1] for points in (truth.keypoints, batch["keypoints_3d"])]
    distance_m = (relative[0] - relative[1]).norm(dim=-1)
    assert distance_m[:, :-NUM_CONTOUR].max() < 1e-5
    # Which points are the face's contour depends on the turn, which augmentation changes.
    assert distance_m[:, -NUM_CONTOUR:].max() < (0.02 if augment else 1e-5)
    camera = fit_translation(truth.keypoints, batch["keypoints_2d"])
    distance = project(truth.keypoints + camera[:, None]) - batch["keypoints_2d"]
    assert 256 * distance.norm(dim=-1).mean() < 6  # renders are seen from nearer than the model's camera


@pytest.fixture
def run(cache, tmp_path):
    device = {"accelerator": "cpu", "devices": 1, "workers": 0, "draw_processes": 1}
    config = OmegaConf.create(
        {
            **TOY,
            "recipe": "stages",
            "start_from": None,
            "backbone_from": None,
            "setting": {**device, "val_count": 4, "val_every": 3, "val_seed": 1},
            "out": str(tmp_path / "out"),
            "cache": str(cache),
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
    model = load_smplest_x(folder / "smplest_x_thin.safetensors")
    assert len(model.encoder.blocks) == 3
    assert model({"img": torch.rand(2, 3, 256, 192)})["smplx_mesh_cam"].shape == (2, 10475, 3)
    record = json.loads((folder / "smplest_x_thin.training.json").read_text())
    assert [stage["images_seen"] for stage in record["stages"]] == [12, 4]
    assert record["validation"]["last"]["val/pa_hands_mm"] > 0
    assert (folder / "smplest_x_thin.curve.png").stat().st_size > 5000
    before = (folder / "smplest_x_thin.safetensors").read_bytes()
    run()  # everything is done: nothing is trained again
    assert (folder / "smplest_x_thin.safetensors").read_bytes() == before


def test_there_is_no_published_recipe(run):
    with pytest.raises(ConfigError, match="has no published recipe"):
        run(recipe="published")
