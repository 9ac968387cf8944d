"""Blocks around `nn.MultiheadAttention`, in the layouts of torchvision, SWAG and OpenCLIP."""

from __future__ import annotations

import pytest
import torch
from patched import merged_output
from torch import nn
from torchvision_block import ClipBlock, SwagBlock, SwagViT
from toy_vit import ToyBlock

from shared_tmu import METHODS, patch, run_trunk
from shared_tmu.errors import PatchError


class Plain(ToyBlock):
    """The same block under the usual names."""

    def __init__(self, block):
        super().__init__(32, 4)
        attention = getattr(block, "self_attention", None) or block.attn
        self.norm1, self.norm2, self.mlp = block.ln_1, block.ln_2, block.mlp
        self.attn.qkv.weight, self.attn.qkv.bias = attention.in_proj_weight, attention.in_proj_bias
        self.attn.proj = attention.out_proj
        self.ls2 = getattr(block, "ls_2", nn.Identity())

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.ls2(self.mlp(self.norm2(x)))


def plain(vit):
    """The same model with `Plain` blocks."""
    twin = SwagViT(is_called=vit.is_called).double().eval()
    twin.load_state_dict(vit.state_dict(), strict=False)
    twin.conv_proj, twin.class_token, twin.head = vit.conv_proj, vit.class_token, vit.head
    twin.encoder.layers = nn.Sequential(*(Plain(block).double() for block in vit.encoder.layers))
    return twin.eval()


CASES = [
    (block, first, called)
    for block in (SwagBlock, ClipBlock)
    for first in (True, False)
    for called in (True, False)
]


@pytest.fixture(
    params=CASES, ids=lambda c: f"{c[0].__name__}-{'BN'[not c[1]]}-{'called' if c[2] else 'loop'}"
)
def vit(request):
    return SwagViT(*request.param).double().eval()


@pytest.fixture
def images():
    return torch.randn(3, 3, 24, 24, dtype=torch.float64)


@torch.no_grad()
def test_merges_as_the_same_blocks_under_the_usual_names(vit, images):
    assert torch.equal(merged_output(vit, images, "off"), vit(images))
    for schedule in ("6x3", "0x1+9x1"):
        want = merged_output(plain(vit), images, schedule)
        torch.testing.assert_close(merged_output(vit, images, schedule), want)


def test_the_prefix_is_measured_and_plans_are_batch_first(vit, images):
    with patch(vit, "6x3", record=True) as handle:
        vit(images)
        assert handle.num_prefix_tokens == 1
        assert handle.plan.source_map.shape == (3, 37)


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.reads == "counts"])
@torch.no_grad()
def test_every_method_runs(name, images):
    vit = SwagViT(batch_first=False).double().eval()
    want = merged_output(plain(vit), images, "6x3", method=name, grid=(6, 6))
    got = merged_output(vit, images, "6x3", method=name, grid=(6, 6))
    torch.testing.assert_close(got, want)


def test_checkpoints_give_the_same_gradients(images):
    vit = SwagViT(batch_first=False, is_called=False).double()
    gradients = []
    with patch(vit, "6x3"):
        for vit.checkpoints in (False, True):
            vit.zero_grad()
            vit(images).square().sum().backward()
            gradients.append([p.grad.clone() for p in vit.parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)


@torch.no_grad()
def test_the_pure_function_takes_batches_first(images):
    blocks = SwagViT(batch_first=False).encoder.layers
    x = torch.randn(2, 20, 32)
    want = x
    for block in blocks:
        want = block(want.transpose(0, 1)).transpose(0, 1)
    assert torch.equal(run_trunk(blocks, x, "off")[0], want)
    assert run_trunk(blocks, x, "3x3")[0].shape == x.shape


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"add_bias_kv": True}, "bias_k, bias_v"),
        ({"add_zero_attn": True}, "add_zero_attn"),
        ({"kdim": 8}, ""),
    ],
)
def test_options_that_are_not_followed_are_refused_by_name(options, reason):
    vit = SwagViT()
    vit.encoder.layers[1].self_attention = nn.MultiheadAttention(32, 4, batch_first=True, **options)
    with pytest.raises(PatchError, match=f"block 1: it has .*{reason}"):
        patch(vit, "6x3")


def test_hooks_and_masks_of_attention_are_refused(images):
    vit = SwagViT().double()
    vit.encoder.layers[0].self_attention.register_forward_hook(lambda *_: None)
    with patch(vit, "6x3"), pytest.raises(PatchError, match=r"SwagBlock\.attn has hooks"):
        vit(images)

    class Masked(SwagBlock):
        def forward(self, x):
            normed = self.ln_1(x)
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
            x = x + self.self_attention(normed, normed, normed, attn_mask=mask)[0]
            return x + self.mlp(self.ln_2(x))

    with pytest.raises(PatchError, match="but does not compute"):
        patch(SwagViT(Masked), "6x3")


def test_attention_that_was_given_another_forward_is_refused_at_the_next_pass(vit, images):
    with torch.no_grad(), patch(vit, "6x3"):
        want = vit(images)
        block = vit.encoder.layers[1]
        attention = getattr(block, "self_attention", None) or block.attn
        attention.forward = lambda q, *_, **__: (torch.zeros_like(q), None)
        with pytest.raises(PatchError, match=r"block 1: .* does not compute"):
            vit(images)
        del attention.forward
        assert torch.equal(vit(images), want)
