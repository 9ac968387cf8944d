"""What every folder's train.py does, on this folder's model; and labels that agree with the body model."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from folder import FOLDER
from suites.training import Run, TrainingSuite

from shared_tmu.body_models import load_smplx
from shared_tmu.body_models.smplx_layer import SmplxLayer
from shared_tmu.body_models.smplx_model import NUM_CONTOUR
from shared_tmu.errors import ConfigError
from shared_tmu.synth import shards
from shared_tmu.synth.scene import Difficulty
from shared_tmu.training import data
from shared_tmu.training.body import fit_translation, project, true_body
from shared_tmu.training.body_data import SynthBodySet


class TestTraining(TrainingSuite):
    folder = FOLDER

    def test_there_is_no_published_recipe(self, run: Run) -> None:
        with pytest.raises(ConfigError, match="has no published recipe"):
            run(recipe="published")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
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
