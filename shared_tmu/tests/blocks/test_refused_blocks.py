"""Blocks that cannot be merged between, refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toy_vit import MapViT, ToyBlock, ToyViT

from shared_tmu import patch, run_trunk
from shared_tmu.errors import PatchError


def test_hooks_that_would_not_run_are_refused():
    x = torch.randn(1, 20, 32)
    for place in ("blocks.1", "blocks.1.attn"):
        for register in ("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"):
            vit = ToyViT(depth=3).eval()
            getattr(vit.get_submodule(place), register)(lambda *_: None)
            with patch(vit, "3x3", num_prefix_tokens=0) as handle:
                with pytest.raises(PatchError, match="has hooks, which would not run"):
                    vit(x)
                handle.schedule = "off"
                vit(x)
    vit, calls = ToyViT(depth=3).eval(), []
    for place in ("attn.qkv", "attn.proj", "norm1", "mlp"):
        vit.blocks[1].get_submodule(place).register_forward_hook(lambda *_: calls.append(1))
    with patch(vit, "3x3", num_prefix_tokens=0):
        assert not calls  # trying blocks out calls no hooks
        vit(x)
    assert len(calls) == 4


class Prefixed(nn.Module):
    """A ViT on pictures that says nothing of the tokens in front."""

    def __init__(self, front: int, behind: int = 0, pooled: bool = False, size: int = 32) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 32, 8, 8)
        self.pos_embed = nn.Parameter(torch.randn(1, (size // 8) ** 2, 32))
        self.a = nn.Parameter(torch.randn(1, front, 32))
        self.b = nn.Parameter(torch.randn(1, behind, 32))
        self.pooled = pooled
        self.blocks = nn.ModuleList(ToyBlock() for _ in range(3))

    def forward(self, img):
        x = self.embed(img).flatten(2).transpose(1, 2) + self.pos_embed
        front = [self.a.expand(len(x), -1, -1)] + ([x.mean(1, keepdim=True)] if self.pooled else [])
        x = torch.cat([*front, x, self.b.expand(len(x), -1, -1)], dim=1)
        for block in self.blocks:
            x = block(x)
        return x


@pytest.mark.parametrize("front", [0, 1, 5, 54])
@pytest.mark.parametrize("size", [32, 48])
def test_tokens_in_front_are_measured(front, size):
    vit = Prefixed(front, size=size).train()
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    with patch(vit, "3x3", record=True) as handle:
        assert handle.num_prefix_tokens == front
        assert all(module.training for module in vit.modules())
        vit(torch.randn(2, 3, size, size))
        assert torch.equal(handle.plan.source_map[:, :front], torch.arange(front).expand(2, -1))
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())


def test_tokens_in_front_inside_a_larger_model():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Prefixed(4)

        def forward(self, batch):
            return self.backbone(batch["img"])

    with patch(Model(), "3x3") as handle:
        assert handle.num_prefix_tokens == 4


def test_what_cannot_be_known_is_refused():
    with pytest.raises(PatchError, match=r"2 after patch tokens .*\(the first is number 17\)"):
        patch(Prefixed(1, behind=2), "3x3")
    with pytest.raises(PatchError, match="pass num_prefix_tokens"):
        patch(Prefixed(1, pooled=True), "3x3")
    vit = Prefixed(1, pooled=True)
    with patch(vit, "3x3", num_prefix_tokens=2) as handle:
        assert handle.num_prefix_tokens == 2


@pytest.mark.parametrize(
    ("held", "count"),
    [
        ({"cls_token": (1, 1, 32)}, 1),
        ({"cls_token": (1, 1, 32), "dist_token": (1, 1, 32)}, 2),
        ({"cls_token": (1, 1, 32), "register_tokens": (1, 4, 32)}, 5),
        ({"class_embedding": (32,)}, 1),
        ({"num_tokens": 1, "num_register_tokens": 4}, 5),
        ({"num_tokens": 2}, 2),
        ({"task_tokens": (1, 80, 32)}, 80),
    ],
)
def test_of_a_model_that_cannot_be_tried_out_attributes_tell(held, count):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(ToyBlock() for _ in range(3))

        def forward(self, a, b, c):
            raise AssertionError

    vit = Odd()
    with pytest.raises(PatchError, match="pass num_prefix_tokens"):
        patch(vit, "3x3")
    for name, value in held.items():
        setattr(vit, name, nn.Parameter(torch.zeros(value)) if isinstance(value, tuple) else value)
    with patch(vit, "3x3") as handle:
        assert handle.num_prefix_tokens == count


def test_pictures_without_a_prefix_need_nothing_said():
    with patch(MapViT((128, 64), 16, 32, 4, 64, depth=2), "3x2") as handle:
        assert handle.num_prefix_tokens == 0


class RopeBlock(ToyBlock):
    def forward(self, x, rope=None):
        return super().forward(x if rope is None else x + rope)


class RopeViT(ToyViT):
    always = True

    def __init__(self):
        super().__init__(depth=3, block=RopeBlock)

    def forward(self, x):
        for block in self.blocks:
            x = block(x, rope=torch.ones(1) if self.always else None)
        return x


class PositionalRopeViT(RopeViT):
    def forward(self, x):
        for block in self.blocks:
            x = block(x, torch.ones(1))
        return x


class NeedyBlock(ToyBlock):
    def forward(self, x, rel_pos_bias):
        return super().forward(x + rel_pos_bias)


def test_further_arguments_are_refused_by_name_when_patched():
    for vit in (RopeViT(), PositionalRopeViT()):
        with pytest.raises(PatchError, match="its argument rope as a rotary embedding besides tokens"):
            patch(vit, "3x3", num_prefix_tokens=0)
    vit = RopeViT()
    vit.always = False
    with patch(vit, "3x3", num_prefix_tokens=0):
        vit(torch.randn(1, 20, 32))
        vit.always = True
        with pytest.raises(PatchError, match="with rope besides tokens"):
            vit(torch.randn(1, 20, 32))
    vit = ToyViT(depth=2, block=NeedyBlock)
    with pytest.raises(PatchError, match="block 0: the forward of NeedyBlock needs rel_pos_bias"):
        patch(vit, "3x2", num_prefix_tokens=0)


def test_the_pure_function_drops_no_rotary_embedding_either():
    x = torch.randn(1, 20, 32)
    for block, name in ((RopeBlock(), "rope"), (NeedyBlock(), "rel_pos_bias")):
        with pytest.raises(PatchError, match=rf"block 1 \(\w+\) gets {name} besides tokens"):
            run_trunk([ToyBlock(), block], x, "3x2")


def test_several_vits_name_only_owners_that_can_be_passed():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(
                nn.Sequential(*(ToyBlock(width) for _ in range(2))) for width in (32, 64)
            )

    class Stages(nn.Module):
        def __init__(self):
            super().__init__()
            self.stage1, self.stage2 = (nn.Sequential(ToyBlock(), ToyBlock()) for _ in range(2))

    for model in (Branches(), Stages(), nn.Sequential(Stages())):
        with pytest.raises(PatchError, match="cannot be patched as it is"):
            patch(model, "1x1")
    pair = nn.ModuleDict({"a": ToyViT(depth=2), "b": ToyViT(depth=2), "c": Stages()})
    with pytest.raises(PatchError, match=r"pass the owner of one of a\.blocks, b\.blocks\."):
        patch(pair, "1x1")
    patch(pair["a"], "1x1").remove()


class WindowedBlock(ToyBlock):
    """Takes tokens in windows, [B, W, N, C], and no others."""

    def forward(self, x):
        batch, windows, _, _ = x.shape
        return super().forward(x.flatten(0, 1)).unflatten(0, (batch, windows))


def test_owners_whose_blocks_do_not_run_on_tokens_are_not_recommended():
    stages = nn.ModuleDict({name: nn.Module() for name in "ab"})
    for stage in stages.values():
        stage.blocks = nn.Sequential(WindowedBlock(), WindowedBlock())
    with pytest.raises(PatchError, match="cannot be patched as it is"):
        patch(stages, "1x1")
