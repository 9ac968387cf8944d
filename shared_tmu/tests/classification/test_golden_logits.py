"""Logits of the published ToMe patches of timm's and MAE's ViTs, on timm's own classes."""

from __future__ import annotations

import pytest
import torch
from golden_trunk import assert_golden, cut_to_depth, part, read_golden, read_r
from patched import merged_output

TENSORS, META = read_golden("methods/vit_logits")
WEIGHTS = part(read_golden("trunk/vit_tome")[0], "weights") | part(TENSORS, "weights")
SIZES = {"img_size": 64, "patch_size": 8, "embed_dim": 64, "depth": 4, "num_heads": 4, "mlp_ratio": 2}


def build(timm, kind):
    """timm's ViT of one kind, with the recorded weights."""
    weights = {k: v for k, v in WEIGHTS.items() if not k.startswith(("distilled.", "dtem.", "fpet."))}
    options = dict(SIZES, num_classes=10)
    models = timm.models
    if kind == "distilled":
        vit = models.deit.VisionTransformerDistilled(**options)
        weights |= part(WEIGHTS, "distilled")
    elif kind == "cls":
        vit = models.vision_transformer.VisionTransformer(**options)
    else:  # pooled: the final norm comes after the pool
        has_class = kind == "cls_mae_head"
        options |= {"global_pool": "avg", "class_token": has_class}
        vit = models.vision_transformer.VisionTransformer(**options)
        for name in ("weight", "bias"):
            weights[f"fc_norm.{name}"] = weights.pop(f"norm.{name}")
        if not has_class:
            del weights["cls_token"]
            weights["pos_embed"] = weights["pos_embed"][:, 1:]
    vit.load_state_dict(weights)
    return vit.eval()


@pytest.mark.parametrize("name", META["cases"])
@torch.no_grad()
def test_logits_are_the_published_ones(timm, name):
    """A pool over all tokens, restored, counts each slot by its size, as the MAE patch does; without
    unmerging every slot counts once, as in the patch of timm's ViT."""
    case = META["cases"][name]
    vit = build(timm, case["model"])
    image = TENSORS["mae_image" if name.startswith("mae_") else "image"]
    plain = vit(image)
    if f"{name}.logits_unpatched" in TENSORS:
        assert_golden(plain, TENSORS[f"{name}.logits_unpatched"])
    options = {"proportional": case["prop_attn"], "unmerge": case["model"] != "nocls_avg"}
    got = merged_output(vit, image, cut_to_depth(read_r(case), 4), **options)
    assert_golden(got, TENSORS[f"{name}.logits"])
    assert torch.equal(vit(image), plain)
