"""Training parts: growth keeps the function, augmentation keeps labels true, the optimiser resumes."""

import copy

import pytest
import torch
from torch import nn

from shared_tmu.errors import ConfigError
from shared_tmu.synth import Difficulty
from shared_tmu.synth.evalset import CALIB_SEED, EVAL_SEED
from shared_tmu.training.drawing import Scenes
from shared_tmu.training.grow import grow_blocks, shrink_blocks
from shared_tmu.training.recipes import check_stages
from shared_tmu.training.settings import Setting, Stage
from shared_tmu.training.stages import run_stages


class Block(nn.Module):
    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.attn = nn.Module()
        self.attn.proj = nn.Linear(dim, dim)
        self.mlp = nn.Module()
        self.mlp.fc2 = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn.proj(x.tanh())
        return x + self.mlp.fc2(x.relu())


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 5), (8, 32), (3, 4)])
def test_grown_trunk_computes_the_same_and_can_learn(before, after):
    blocks = nn.ModuleList(Block() for _ in range(before))
    x = torch.randn(2, 3, 16)
    want = nn.Sequential(*blocks)(x)
    grown = grow_blocks(copy.deepcopy(blocks), after)
    assert len(grown) == after
    got = nn.Sequential(*grown)(x)
    torch.testing.assert_close(got, want, rtol=0, atol=0)
    got.square().sum().backward()
    assert all(block.mlp.fc2.weight.grad.abs().sum() > 0 for block in grown)
    assert len({id(block) for block in grown}) == after


def test_growth_does_not_shrink_a_trunk():
    with pytest.raises(ConfigError, match="give a depth of at least 4"):
        grow_blocks(nn.ModuleList(Block() for _ in range(4)), 2)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 5), (8, 32), (3, 4), (5, 7)])
def test_shrinking_undoes_growth(before, after):
    blocks = nn.ModuleList(Block() for _ in range(before))
    back = shrink_blocks(grow_blocks(blocks, after), before)
    assert [id(block) for block in back] == [id(block) for block in blocks]


@pytest.mark.parametrize("depth", [0, 5])
def test_a_trunk_cannot_keep_more_blocks_than_it_has(depth):
    with pytest.raises(ConfigError, match=f"cannot keep {depth} of 4 blocks: choose 1 to 4"):
        shrink_blocks(nn.ModuleList(Block() for _ in range(4)), depth)


@pytest.mark.parametrize(
    ("depths", "message"),
    [([], "without stages"), ([2, 4, 3], "'2' has 3 blocks, but the stage before it, '1', has 4")],
)
def test_stages_that_cannot_follow_each_other_are_refused_before_training(tmp_path, depths, message):
    stages = [Stage(str(i), depth, images=64, seed=1, count=64) for i, depth in enumerate(depths)]
    with pytest.raises(ConfigError, match=message):
        run_stages(lambda depth: pytest.fail("training began"), 8, stages, Setting(tmp_path, tmp_path))


def test_a_stage_can_mix_sets_of_scenes():
    also = [Scenes(4, 8, Difficulty(clutter=0.5)), Scenes(5, 9)]
    stage = Stage("mixed", 2, images=1, seed=1, count=7, difficulty=Difficulty(90.0), also=also)
    assert stage.sets == [
        Scenes(1, 7, Difficulty(90.0)), Scenes(4, 8, Difficulty(clutter=0.5)), Scenes(5, 9, Difficulty())
    ]  # fmt: skip


@pytest.mark.parametrize("seed", [EVAL_SEED, CALIB_SEED])
def test_seeds_of_the_bundled_sets_are_not_trained_on(tmp_path, seed):
    stage = Stage("one", 1, images=64, seed=1, count=64, also=[Scenes(seed, 64)])
    with pytest.raises(ConfigError, match=f"trains on seed {seed}, from which the bundled sets"):
        check_stages([stage], Setting(tmp_path, tmp_path))
