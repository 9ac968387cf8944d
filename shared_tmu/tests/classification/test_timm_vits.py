"""Options of timm's ViTs: tokens in front, pools, norms, attention, sizes."""

from __future__ import annotations

import pytest
import torch
from patched import merged_output

from shared_tmu import patch

SIZES = {"img_size": 32, "patch_size": 4, "embed_dim": 32, "depth": 3, "num_heads": 4, "num_classes": 5}
OPTIONS = {
    "class token": {},
    "registers": {"reg_tokens": 4, "no_embed_class": True},
    "registers alone": {"reg_tokens": 2, "class_token": False, "global_pool": "avg"},
    "average pool": {"global_pool": "avg"},
    "map pool": {"global_pool": "map", "class_token": False},
    "largest of each channel": {"global_pool": "max"},
    "layer scale": {"init_values": 0.1},
    "norms of queries and keys": {"qk_norm": True},
    "norm of the heads": {"scale_attn_norm": True},
    "pre-norm": {"pre_norm": True},
    "dynamic size": {"dynamic_img_size": True},
    "drop path": {"drop_path_rate": 0.5, "proj_drop_rate": 0.1, "attn_drop_rate": 0.1},
}
PREFIX = {"registers": 5, "registers alone": 2, "map pool": 0}


@pytest.fixture(params=OPTIONS)
def name(request):
    return request.param


@pytest.fixture
def vit(timm, name):
    torch.manual_seed(0)
    vit = timm.models.vision_transformer.VisionTransformer(**SIZES, **OPTIONS[name])
    for parameter in vit.parameters():  # norms, scales and tokens that start at 0 or 1 would hide faults
        torch.nn.init.normal_(parameter, 0.5 if parameter.ndim == 1 else 0.0, 0.2)
    return vit.eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32)


@torch.no_grad()
def test_off_is_bit_equal_and_fused_attention_changes_nothing(vit, name, images):
    want = vit(images)
    assert torch.equal(merged_output(vit, images, "off"), want)
    with patch(vit, "9x3", record=True) as handle:
        fused = vit(images)
        assert handle.num_prefix_tokens == PREFIX.get(name, 1)
        assert handle.plan.num_slots == handle.plan.num_tokens - 27
    for block in vit.blocks:
        block.attn.fused_attn = not block.attn.fused_attn
    torch.testing.assert_close(merged_output(vit, images, "9x3"), fused)
    assert not torch.allclose(fused, want)
    assert torch.allclose(vit(images), want, atol=1e-5)


def test_a_forward_in_training_mode_drops_and_has_gradients(vit, images):
    vit.train()
    merged_output(vit, images, "9x3").square().sum().backward()
    assert vit.patch_embed.proj.weight.grad.isfinite().all()


@torch.no_grad()
def test_another_picture_size(timm, images):
    vit = timm.models.vision_transformer.VisionTransformer(**SIZES, dynamic_img_size=True).eval()
    with patch(vit, "9x3", record=True) as handle:
        vit(torch.randn(2, 3, 40, 24))
        assert handle.plan.num_tokens == 61
        vit(images)
        assert handle.plan.num_tokens == 65


@pytest.mark.parametrize("pool", ["average pool", "map pool"])
@torch.no_grad()
def test_pools_over_restored_tokens_count_slots_by_size(timm, pool, images):
    torch.manual_seed(0)
    vit = timm.models.vision_transformer.VisionTransformer(**SIZES, **OPTIONS[pool]).eval()
    with patch(vit, "12x3", unmerge=False, record=True) as handle:
        slots, sizes = vit.forward_features(images), None
        sizes = handle.plan.sizes()
    prefix = PREFIX.get(pool, 1)
    repeated = [
        torch.cat([x[n].expand(int(count), -1) for n, count in enumerate(size) if n >= prefix])
        for x, size in zip(slots, sizes, strict=True)
    ]
    front = slots[:, :prefix]
    want = vit.forward_head(torch.cat([front, torch.stack(repeated)], 1))
    torch.testing.assert_close(merged_output(vit, images, "12x3"), want)
