"""Training on some of the patches: the subject is kept, and keeping everything changes nothing."""

import pytest
import torch

from shared_tmu.errors import ConfigError
from shared_tmu.models.config import ViTConfig
from shared_tmu.models.vit import ViT
from shared_tmu.training.dense import DenseHeads, dense_losses, heat_losses
from shared_tmu.training.module import HandTraining
from shared_tmu.training.patches import (
    choose_patches,
    encode_some,
    put_back,
    sees_all,
    take_patches,
    to_patches,
)
from shared_tmu.training.settings import Stage

SMALL = ViTConfig(depth=2, embed_dim=16, num_heads=2)


def batch(count: int = 2) -> dict[str, torch.Tensor]:
    part = torch.zeros(count, 64, 48, dtype=torch.int64)
    part[:, 20:36, 16:28] = 5  # patches 5 to 8 down, 4 to 6 across
    return {
        "part": part,
        "canonical": torch.rand(count, 64, 48, 3) * 0.2 - 0.1,
        "depth": torch.rand(count, 64, 48) * 0.2 - 0.1,
        "keypoints_2d": torch.rand(count, 21, 2) * 0.1 - 0.05,
        "keypoints_3d": torch.rand(count, 21, 3) * 0.1 + torch.tensor([0.0, 0.0, 0.5]),
    }


def test_cells_lie_in_their_patches():
    cells = torch.arange(64 * 48).reshape(1, 64, 48)
    patches = to_patches(cells)
    assert patches.shape == (1, 192, 16)
    for row, column in ((0, 0), (3, 7), (15, 11)):
        want = cells[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].flatten()
        assert torch.equal(patches[0, row * 12 + column], want)
    assert to_patches(torch.zeros(2, 64, 48, 3)).shape == (2, 192, 16, 3)


@pytest.mark.parametrize("count", [12, 30, 96, 192, 500])
def test_what_shows_the_subject_is_kept_first(count):
    torch.manual_seed(count)
    kept = choose_patches(batch()["part"], count)
    assert kept.shape == (2, min(count, 192))
    subject = {row * 12 + column for row in range(5, 9) for column in range(4, 7)}
    around = {row * 12 + column for row in range(4, 10) for column in range(3, 8)}
    for row in kept.tolist():
        assert row == sorted(set(row))
        assert subject <= set(row)
        assert count < len(around) or around <= set(row)


def test_the_rest_is_kept_by_chance():
    torch.manual_seed(0)
    first, second = (choose_patches(batch()["part"], 96) for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    again = [choose_patches(batch()["part"], 96, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*again)


def test_which_patches_a_step_sees_follows_from_the_step_alone():
    model = torch.nn.Module()
    model.backbone = ViT(SMALL)
    training = HandTraining(model, 16, steps=10, keep_patches=96).train()
    data = {**batch(), "img": torch.randn(2, 3, 256, 192)}
    (_, first), (tokens, second) = training.encode(data), training.encode(data)
    assert tokens.shape == (2, 96, 16)
    assert torch.equal(first["kept"], second["kept"])
    assert training.eval().encode(data)[0].shape == (2, 192, 16)


def test_a_share_of_the_steps_sees_every_patch(monkeypatch):
    model = torch.nn.Module()
    model.backbone = ViT(SMALL)
    data = {**batch(), "img": torch.randn(2, 3, 256, 192)}

    def counts(share: float, seed: int, steps: range) -> list[int]:
        training = HandTraining(model, 16, steps=10, keep_patches=96, full_share=share, seed=seed).train()
        found = []
        for step in steps:
            monkeypatch.setattr(HandTraining, "global_step", step)
            found.append(training.encode(data)[0].shape[1])
        return found

    seen = counts(0.3, 7, range(40))
    assert set(seen) == {96, 192}
    assert counts(0.3, 7, range(30, 40)) == seen[30:]  # as after a stop
    assert counts(0.3, 8, range(40)) != seen
    assert counts(0.0, 7, range(5)) == [96] * 5
    assert counts(1.0, 7, range(5)) == [192] * 5
    assert sum(sees_all(7, step, 0.3) for step in range(2000)) == pytest.approx(600, abs=60)


def test_a_share_of_full_steps_without_others_is_refused():
    with pytest.raises(ConfigError, match=r"full_share=0\.3 .*keep_patches"):
        Stage("one", 8, 100, 1, 100, full_share=0.3)


def test_with_every_patch_kept_a_vit_computes_what_it_always_does():
    torch.manual_seed(0)
    vit = ViT(SMALL).eval()
    img = torch.randn(2, 3, 256, 192)
    every = torch.arange(192).expand(2, -1)
    torch.testing.assert_close(encode_some(vit, img, every), vit(img), rtol=0, atol=0)


def test_tokens_go_back_to_their_places():
    tokens = torch.randn(2, 3 + 5, 4)
    kept = torch.tensor([[0, 2, 4, 8, 9], [1, 3, 5, 6, 7]])
    full = put_back(tokens, kept, 10)
    assert full.shape == (2, 13, 4)
    assert torch.equal(full[:, :3], tokens[:, :3])
    assert torch.equal(take_patches(full[:, 3:], kept), tokens[:, 3:])
    assert full[0, 3 + 1].abs().sum() == 0


def test_losses_of_all_patches_given_by_number_are_those_of_all_patches():
    torch.manual_seed(0)
    heads, data = DenseHeads(8), batch()
    tokens = torch.randn(2, 192, 8)
    whole, named = heads(tokens), heads(tokens, torch.arange(192).expand(2, -1))
    for losses in (dense_losses, lambda read, _: heat_losses(heads, read, data["keypoints_2d"])):
        first, second = losses(whole, data), losses(named, data)
        for name, value in first.items():
            torch.testing.assert_close(second[name], value)


def test_key_points_in_patches_that_were_left_out_are_not_asked_for():
    heads, data = DenseHeads(8), batch()
    patch, _ = heads.patch_of(data["keypoints_2d"])
    without = torch.tensor([n for n in range(192) if n not in set(patch.flatten().tolist())])
    kept = without.expand(2, -1)
    losses = heat_losses(heads, heads(torch.randn(2, len(without), 8), kept), data["keypoints_2d"])
    assert losses["heat"] == 0
    assert losses["place"] == 0
