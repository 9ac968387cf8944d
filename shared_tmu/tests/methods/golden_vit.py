"""The small ViT of the recorded methods: image to tokens."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from golden_trunk import part, read_golden
from torch import Tensor
from toy_vit import ToyViT

WEIGHTS = part(read_golden("trunk/vit_tome")[0], "weights")


def build_vit() -> ToyViT:
    """Blocks with the recorded weights."""
    vit = ToyViT(4, 0, 64, heads=4, hidden=128)
    vit.load_state_dict({k: v for k, v in WEIGHTS.items() if k.startswith("blocks")}, strict=False)
    return vit.eval()


def embed(image: Tensor) -> Tensor:
    """Class token and patches, `[B, 65, 64]`."""
    patches = F.conv2d(image, WEIGHTS["patch_embed.proj.weight"], WEIGHTS["patch_embed.proj.bias"], 8)
    patches = patches.flatten(2).transpose(1, 2)
    return torch.cat([WEIGHTS["cls_token"].expand(len(patches), -1, -1), patches], 1) + WEIGHTS["pos_embed"]


def read_method(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and cases of a recorded method."""
    tensors, meta = read_golden(f"methods/{name}")
    return tensors, meta["cases"]
