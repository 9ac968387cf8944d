"""A plain ViT for photographs with class token and layer scale, as DINOv2 has them, and a saliency decoder.

Legend: B batch, P patch tokens, N = 1 + P tokens, C channels. Names of parameters are timm's, so that
`vit_small_patch14_dinov2` of timm takes the ViT's weights too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_tmu.errors import ConfigError, InputError
from shared_tmu.models.vit import NORM_EPS, Attention, Mlp


@dataclass(frozen=True)
class PhotoViTConfig:
    """Sizes of a `PhotoViT`; the defaults are those of ViT-S/14.

    Attributes:
        embed_dim: C.
        depth: blocks.
        num_heads: heads of attention.
        patch_size: side of a patch, pixels.
        position_grid: side of the grid of position embeddings, which is resized to that of the pictures.
        image_size: height and width of the pictures, multiples of a patch's side.

    Raises:
        ConfigError: the sides of pictures are no multiples.
    """

    embed_dim: int = 384
    depth: int = 12
    num_heads: int = 6
    patch_size: int = 14
    position_grid: int = 37
    image_size: tuple[int, int] = (224, 224)

    def __post_init__(self) -> None:
        if any(side < 1 or side % self.patch_size for side in self.image_size):
            raise ConfigError(
                f"this ViT was asked for pictures of {self.image_size[0]} x {self.image_size[1]} pixels: use "
                f"multiples of its patches' side, {self.patch_size}, such as {8 * self.patch_size}."
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size

    @classmethod
    def of_weights(
        cls, weights: Mapping[str, Tensor], num_heads: int, image_size: tuple[int, int]
    ) -> PhotoViTConfig:
        """The sizes of a model with these weights, for pictures of a size."""
        depth = 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("blocks."))
        width, _, patch, _ = weights["patch_embed.proj.weight"].shape
        grid = round((weights["pos_embed"].shape[1] - 1) ** 0.5)
        return cls(width, depth, num_heads, patch, grid, image_size)


class LayerScale(nn.Module):
    """Multiplies each channel by a learned number. Source: Touvron et al. 2021, arXiv:2103.17239."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """`[..., C]` to the same shape."""
        return x * self.gamma


class ScaledBlock(nn.Module):
    """Pre-norm attention and MLP, each scaled per channel, with a residual."""

    def __init__(self, config: PhotoViTConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = Attention(dim, config.num_heads, qkv_bias=True)
        self.ls1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, 4 * dim)
        self.ls2 = LayerScale(dim)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, N, C]` to the same shape."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


class PhotoPatches(nn.Module):
    """Cuts pictures into patches and projects each to a token."""

    def __init__(self, config: PhotoViTConfig) -> None:
        super().__init__()
        self.image_size, side = config.image_size, config.patch_size
        self.proj = nn.Conv2d(3, config.embed_dim, side, stride=side)

    def forward(self, img: Tensor) -> Tensor:
        """Map pictures `[B, 3, h, w]` to a grid `[B, C, rows, columns]`.

        Raises:
            InputError: the pictures have another shape.
        """
        if img.ndim != 4 or tuple(img.shape[1:]) != (3, *self.image_size):
            height, width = self.image_size
            raise InputError(f"this ViT expects pictures [B, 3, {height}, {width}], found {list(img.shape)}.")
        grid: Tensor = self.proj(img)
        return grid


class PhotoViT(nn.Module):
    """Maps pictures `[B, 3, h, w]` to tokens `[B, 1 + P, C]` after the last norm, class token first.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929; DINOv2, Oquab et al. 2023, arXiv:2304.07193.
    """

    num_prefix_tokens = 1

    def __init__(self, config: PhotoViTConfig) -> None:
        super().__init__()
        self.config, self.embed_dim = config, config.embed_dim
        self.patch_embed = PhotoPatches(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.position_grid**2 + 1, config.embed_dim))
        self.blocks = nn.Sequential(*(ScaledBlock(config) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(config.embed_dim, eps=NORM_EPS)

    def forward(self, img: Tensor) -> Tensor:
        """See the class.

        Raises:
            InputError: the pictures have another shape.
        """
        grid = self.patch_embed(img)
        first, positions = self.pos_embed[:, :1], self._positions()
        patches = grid.flatten(2).transpose(1, 2) + positions.to(grid.dtype)
        x = torch.cat(((self.cls_token + first).expand(len(img), -1, -1), patches), dim=1)
        out: Tensor = self.norm(self.blocks(x))
        return out

    def _positions(self) -> Tensor:
        """The embeddings of the grid, `[1, P, C]`, resized as DINOv2 resizes them."""
        side, (rows, columns) = self.config.position_grid, self.config.grid
        grid = self.pos_embed[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
        if (rows, columns) != (side, side):
            grid = F.interpolate(grid.float(), (rows, columns), mode="bicubic", align_corners=False)
        positions: Tensor = grid.flatten(2).transpose(1, 2)
        return positions


class SaliencyDecoder(nn.Module):
    """Three transposed convolutions, then one channel.

    Args:
        widths: channels, from those of the tokens on.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (384, 256, 128, 64)) -> None:
        super().__init__()
        for number, (before, after) in enumerate(pairwise(widths), start=1):
            self.add_module(f"upconv{number}", nn.ConvTranspose2d(before, after, 4, stride=2, padding=1))
            self.add_module(f"bn{number}", nn.BatchNorm2d(after))
        self.final_conv = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, grid: Tensor) -> Tensor:
        """Map `[B, C, rows, columns]` to logits `[B, 1, 8 * rows, 8 * columns]`."""
        for number in (1, 2, 3):
            grid = F.relu(self.get_submodule(f"bn{number}")(self.get_submodule(f"upconv{number}")(grid)))
        out: Tensor = self.final_conv(grid)
        return out


class SaliencyNet(nn.Module):
    """How much each pixel of a photograph stands out: a ViT, and a decoder on its grid of patch tokens."""

    def __init__(self, vit: PhotoViT, decoder: SaliencyDecoder) -> None:
        super().__init__()
        self.vit, self.decoder = vit, decoder

    def forward(self, img: Tensor) -> Tensor:
        """Map pictures `[B, 3, h, w]` to saliency `[B, h, w]` in 0..1."""
        patches = self.vit(img)[:, 1:].transpose(1, 2)
        return self.decode(patches.reshape(*patches.shape[:2], *self.vit.config.grid))

    def decode(self, grid: Tensor) -> Tensor:
        """Map patch tokens `[B, C, rows, columns]` to saliency `[B, h, w]`."""
        logits = F.interpolate(
            self.decoder(grid), self.vit.config.image_size, mode="bilinear", align_corners=False
        )
        return logits.sigmoid()[:, 0]
