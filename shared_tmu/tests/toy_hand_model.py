"""A tiny ViT with a hand-shaped output dictionary: what the runners expect of a model, without HaMeR."""

from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

import shared_tmu
from shared_tmu.programs.model_program import ModelProgram

SIZE = 64


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.num_heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        out = nn.functional.scaled_dot_product_attention(*qkv.unbind(0))
        return self.proj(out.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Backbone(nn.Module):
    def __init__(self, dim=16, depth=4, heads=2):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, dim, 8, 8)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))

    def forward(self, img):
        x = self.patch_embed(img).flatten(2).transpose(1, 2)  # [B, 64, C]
        for block in self.blocks:
            x = block(x)
        return x


class ToyHand(nn.Module):
    """Images `[B, 3, 64, 64]` to a template hand that the picture deforms a little."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.config = SimpleNamespace(image_size=SIZE)
        self.backbone = Backbone()
        self.head = nn.Linear(16, 799 * 3)
        self.register_buffer("template", 0.05 * torch.randn(799, 3))
        self.calls = 0

    def forward(self, batch):
        self.calls += 1
        img = batch["img"].to(self.template.dtype)
        points = self.template + 0.01 * self.head(self.backbone(img).mean(1)).unflatten(-1, (799, 3))
        camera = torch.tensor([0.9, 0.0, 0.0], device=img.device).expand(len(img), 3)
        return {"pred_vertices": points[:, 21:], "pred_keypoints_3d": points[:, :21], "pred_cam": camera}


def patch(model, schedule, method="tome", **options):
    return shared_tmu.patch(model.backbone, schedule, method, **options)


def program_of(folder: Path, load, checkpoint: Path, kind=ModelProgram, **more) -> ModelProgram:
    """A program of a model that is not built and saved as those of model folders are."""
    given = {"config": None, "build": None, "save_model": None, "narrow": None, "patch": patch, **more}
    return kind("Toy", folder, load_model=load, default_checkpoint=checkpoint, **given)


def toy_program(folder: Path, model: nn.Module | None = None) -> ModelProgram:
    """A program whose checkpoint is any file: it is only hashed."""
    folder.mkdir(exist_ok=True)
    checkpoint = folder / "toy.safetensors"
    if not checkpoint.exists():  # several processes may share it
        checkpoint.write_bytes(b"weights")
    toy = model or ToyHand()
    return program_of(folder, lambda *paths: toy, checkpoint)
