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
from shared_tmu.training.attention_loss import HAND_JOINT, HAND_TOKEN, NUM_BODY_TOKENS
from shared_tmu.training.body import (
    EVERY,
    BodyTraining,
    body_losses,
    fit_translation,
    found_person,
    labelled_person,
    loss_subset,
    project,
    true_body,
)
from shared_tmu.training.body_data import SynthBodySet
from smplest_x_tmu.model.decoder import LAYERS


class TestTraining(TrainingSuite):
    folder = FOLDER

    def test_there_is_no_published_recipe(self, run: Run) -> None:
        with pytest.raises(ConfigError, match="has no published recipe"):
            run(recipe="published")

    def test_photographs_are_for_hands(self, run: Run, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="SMPLest-X, but only hand models can learn"):
            run(photos=str(tmp_path))


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


def test_losses_see_what_the_model_returns(cache):
    torch.manual_seed(0)
    people = SynthBodySet(cache, 1, 4, Difficulty(), augment=False)
    samples = [people[i] for i in range(4)]
    batch = {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
    model = FOLDER.tiny(depth=1)
    for parameter in model.decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    subset = loss_subset(model.smplx_layer)
    with torch.no_grad():
        decoded = model.decoder(model.encode(batch["img"]))
        output = model.assemble(decoded)
        found, truth = found_person(decoded, subset), labelled_person(batch, subset)
        losses = body_losses(found, output["cam_trans"], batch, truth)
    whole = true_body(batch, model.smplx_layer)
    root = whole.keypoints[:, :1]
    points = output["smplx_joint_cam"] - (whole.keypoints - root)
    mesh = output["smplx_mesh_cam"] - output["smplx_root_cam"][:, None] - (whole.vertices - root)
    flat = project(output["smplx_joint_cam"] + output["smplx_root_cam"][:, None]) - batch["keypoints_2d"]
    wanted = {
        "keypoints_3d": 3.0 * points.abs().sum(-1).mean(),
        "vertices": 3.0 * mesh[:, ::EVERY].abs().sum(-1).mean(),
        "keypoints_2d": 8.0 * flat.abs().sum(-1).mean(),
    }
    for name, value in wanted.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-4, atol=1e-6)
    exact = body_losses(truth, output["cam_trans"], batch, truth)
    assert all(exact[name] == 0 for name in ("local_vertices", "parts_3d", "root", "body", "betas"))


def test_tokens_that_look_at_joints_are_those_that_turn_them():
    first = {name: (start, count) for name, start, count, _ in LAYERS}
    assert first["dec_body_root_pose"] == (0, 1)
    assert first["dec_body_pose"] == (1, NUM_BODY_TOKENS - 1)
    assert first["dec_hand_pose"] == (HAND_TOKEN, 55 - HAND_JOINT)


@pytest.mark.parametrize("keep", [None, 40])
def test_patches_can_learn_without_the_head(cache, keep):
    people = SynthBodySet(cache, 1, 4, Difficulty(), augment=False)
    samples = [people[i] for i in range(2)]
    batch = {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
    model, weights = FOLDER.tiny(depth=1), {"head": 0.0}
    dim = model.config.encoder.embed_dim
    training = BodyTraining(model, dim, 1, weights=weights, num_prefix_tokens=80, keep_patches=keep).train()
    losses, _ = training.losses(batch)
    torch.stack(list(losses.values())).sum().backward()
    assert model.encoder.blocks[0].mlp.fc2.weight.grad.abs().sum() > 0
    assert model.encoder.task_tokens.grad is None
    assert all(p.grad is not None for p in training.parameters() if p.requires_grad)
    assert all(parameter.grad is None for parameter in model.decoder.parameters())
    assert "look" in training.eval().losses(batch)[0]


def test_the_weight_of_the_head_multiplies_all_its_losses():
    drawn = torch.Generator().manual_seed(0)
    joints, sizes = 137, {"root": 3, "body": 63, "left_hand": 45, "right_hand": 45, "jaw": 3}
    shapes = {
        **{name: (size,) for name, size in sizes.items()},
        **{"betas": (10,), "expression": (10,), "img": (3, 256, 192), "canonical": (64, 48, 3)},
        **{"depth": (64, 48), "keypoints_2d": (joints, 2), "keypoints_3d": (joints, 3)},
    }
    batch = {name: 0.1 * torch.randn(2, *shape, generator=drawn) for name, shape in shapes.items()}
    batch["part"] = torch.ones(2, 64, 48).long()
    model, totals = FOLDER.tiny(depth=1), {}
    dim = model.config.encoder.embed_dim
    for weight in (1.0, 3.0, 5.0):
        torch.manual_seed(1)
        training = BodyTraining(model, dim, 1, weights={"head": weight}, num_prefix_tokens=80)
        training.log = training.log_dict = lambda *args, **options: None
        totals[weight] = float(training.train().training_step(batch, 0).detach())
    assert totals[1.0] < 0.6 * totals[3.0]
    assert totals[3.0] == pytest.approx((totals[1.0] + totals[5.0]) / 2, rel=1e-5)
