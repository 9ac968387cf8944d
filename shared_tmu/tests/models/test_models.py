"""Parts of models that no folder owns: stochastic depth, discriminator, losses, telling models apart."""

import pytest
import torch

from shared_tmu.errors import ConfigError, InputError
from shared_tmu.models.config import ViTConfig
from shared_tmu.models.contents import identify
from shared_tmu.models.decoder import CrossAttention, DecoderConfig
from shared_tmu.models.discriminator import Discriminator
from shared_tmu.models.vit import DropPath, ViT
from shared_tmu.pictures.geometry import axis_angle_to_rotmat
from shared_tmu.training.published_losses import (
    LossWeights,
    discriminator_loss,
    generator_loss,
    keypoint_loss,
    parameter_loss,
)


def test_stochastic_depth_only_while_training() -> None:
    drop = DropPath(0.5)
    x = torch.ones(4000, 1, 1)
    assert set(drop(x).unique().tolist()) == {0.0, 2.0}
    assert drop(x).mean() == pytest.approx(1.0, abs=0.1)
    assert drop.eval()(x) is x
    vit = ViT(ViTConfig(img_size=(32, 32), embed_dim=8, num_heads=2, depth=6))
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in vit.blocks]
    assert rates == pytest.approx([0.0, 0.11, 0.22, 0.33, 0.44, 0.55])


def test_discriminator_scores_every_joint() -> None:
    pose = axis_angle_to_rotmat(torch.randn(4, 15, 3))
    judge = Discriminator()
    scores = judge(pose, torch.randn(4, 10))
    assert scores.shape == (4, 17)
    changed = pose.clone()
    changed[:, 7] = torch.eye(3)
    moved = (judge(changed, torch.zeros(4, 10)) - judge(pose, torch.zeros(4, 10))).abs().amax(0) > 0
    assert moved.tolist() == [joint in (7, 16) for joint in range(17)]


def test_losses_by_hand() -> None:
    predicted, target = torch.zeros(2, 3, 2), torch.ones(2, 3, 2)
    assert keypoint_loss(predicted, target) == 6.0
    confidence = torch.tensor([[[1.0], [0.0], [0.0]], [[0.0], [0.0], [0.0]]])
    assert keypoint_loss(predicted, torch.cat((target, confidence), -1)) == 1.0
    assert keypoint_loss(predicted, target, root=0) == 0.0
    assert parameter_loss(torch.zeros(2, 4), torch.full((2, 4), 2.0)) == 16.0
    assert parameter_loss(torch.zeros(2, 4), torch.full((2, 4), 2.0), torch.tensor([1.0, 0.0])) == 8.0
    assert generator_loss(torch.zeros(2, 17)) == 17.0
    assert discriminator_loss(torch.ones(2, 17), torch.zeros(2, 17)) == 0.0
    with pytest.raises(InputError, match=r"targets \[2, 2, 2\] do not fit"):
        keypoint_loss(predicted, target[:, :2])


def test_loss_weights_in_both_spellings() -> None:
    published = {"KEYPOINTS_3D": 0.05, "KEYPOINTS_2D": "0.01", "GLOBAL_ORIENT": 0.001, "ADVERSARIAL": 0.0}
    assert LossWeights.from_dict(published) == LossWeights(adversarial=0.0)
    with pytest.raises(ConfigError, match=r"there is no loss \['vertices'\]"):
        LossWeights.from_dict({"VERTICES": 1.0})
    with pytest.raises(ConfigError, match="must be numbers"):
        LossWeights.from_dict({"betas": "much"})


def test_models_are_told_apart_inside_wrappers() -> None:
    zero = torch.zeros(1)
    assert "HaMeR's" in identify({"state_dict": {"model.mano_head.decpose.weight": zero}})
    assert "SMPLest-X's" in identify({"module.encoder.pos_embed": zero, "module.decoder.a": zero})


@pytest.mark.parametrize("context", [1, 7])
def test_a_single_query_reads_the_same_in_training(context: int) -> None:
    torch.manual_seed(0)
    sizes = DecoderConfig(heads=3, dim_head=4, dim=8, context_dim=10)
    attention = CrossAttention(sizes).double()
    given = [
        torch.randn(2, n, c, dtype=torch.float64, requires_grad=True) for n, c in ((1, 8), (context, 10))
    ]
    found = []
    for training in (True, False):
        out = attention.train(training)(*given)
        gradients = torch.autograd.grad(out.square().sum(), [*given, *attention.parameters()])
        found.append([out, *gradients])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    queries = torch.randn(2, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(attention.train()(queries, given[1]), attention.eval()(queries, given[1]))
