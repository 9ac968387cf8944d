"""Tokens of an early block learn how much of their patch shows the subject; without it nothing changes."""

import pytest
import torch
from test_training_patches import SMALL, batch

from shared_tmu.errors import ConfigError
from shared_tmu.models.vit import ViT
from shared_tmu.training.dense import dense_losses
from shared_tmu.training.module import HandTraining
from shared_tmu.training.patches import to_patches
from shared_tmu.training.settings import Stage


def training(**options: object) -> HandTraining:
    torch.manual_seed(0)
    model = torch.nn.Module()
    model.backbone = ViT(SMALL)
    return HandTraining(model, 16, 10, **options).train()


def data() -> dict[str, torch.Tensor]:
    return {**batch(), "img": torch.randn(2, 3, 256, 192)}


@pytest.mark.parametrize("keep", [None, 96])
def test_the_loss_is_of_the_tokens_that_enter_the_block(keep):
    one, given = training(silhouette_block=1, keep_patches=keep), data()
    seen: list[torch.Tensor] = []
    one.model.backbone.blocks[1].register_forward_pre_hook(lambda _, tokens: seen.append(tokens[0]))
    torch.nn.init.normal_(one.dense.silhouette.weight)
    tokens, read = one.encode(given)
    torch.testing.assert_close(read["silhouette"], one.dense.silhouette(seen[0])[..., 0])
    assert read["silhouette"].shape == tokens.shape[:2]
    losses = dense_losses(read, given)
    plain = training(keep_patches=keep)
    assert losses.keys() - dense_losses(plain.encode(given)[1], given).keys() == {"silhouette"}
    losses["silhouette"].backward()
    vit = one.model.backbone
    assert vit.blocks[0].mlp.fc2.weight.grad.abs().sum() > 0
    assert vit.blocks[1].mlp.fc2.weight.grad is None


def test_it_is_smallest_for_the_true_coverage():
    one, given = training(silhouette_block=0), data()
    _, read = one.encode(given)
    covered = (to_patches(given["part"]) > 0).float().mean(-1)

    def loss(share: torch.Tensor) -> float:
        logits = torch.logit(share.clamp(1e-4, 1 - 1e-4))
        return float(dense_losses({**read, "silhouette": logits}, given)["silhouette"])

    assert 0 < covered.mean() < 1
    assert loss(covered) < min(loss(covered * 0.9), loss(covered * 0.9 + 0.1), loss(1 - covered))


def test_without_it_tokens_and_names_are_as_before():
    plain, other = training(), training(silhouette_block=0)
    given = data()
    other.model.backbone.load_state_dict(plain.model.backbone.state_dict())
    found = [one.eval().encode(given)[0] for one in (plain, other)]
    torch.testing.assert_close(*found, rtol=0, atol=0)
    assert other.state_dict().keys() - plain.state_dict().keys() == {
        "dense.silhouette.weight",
        "dense.silhouette.bias",
    }


@pytest.mark.parametrize("changes", [{"silhouette_block": 8}, {"weights": {"silhouette": 0.5}}])
def test_a_block_that_does_not_exist_and_a_weight_alone_are_refused(changes):
    with pytest.raises(ConfigError, match="silhouette"):
        Stage("one", 8, 100, 1, 100, **changes)
