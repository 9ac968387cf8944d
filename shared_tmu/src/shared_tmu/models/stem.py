"""Makes patch tokens of pictures: by one projection of each patch, as published, or by small convolutions."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from shared_tmu.errors import InputError
from shared_tmu.models.config import CONV_STEM, ViTConfig


class PatchEmbed(nn.Module):
    """Cuts an image into patches and projects each to a token, row by row."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.img_size = config.img_size
        self.proj = nn.Conv2d(
            3, config.embed_dim, config.patch_size, stride=config.patch_size, padding=config.patch_padding
        )

    @property
    def first(self) -> nn.Conv2d:
        """The convolution that reads the pictures."""
        return self.proj

    def reset_parameters(self) -> None:
        """Initialise like a linear layer."""
        weight = self.proj.weight
        nn.init.xavier_uniform_(weight.view(weight.shape[0], -1))

    def forward(self, img: Tensor) -> Tensor:
        """Map images `[B, 3, h, w]` to tokens `[B, P, C]`.

        Raises:
            InputError: the images have another shape.
        """
        check_images(img, self.img_size)
        tokens: Tensor = self.proj(img).flatten(2).transpose(1, 2)
        return tokens


class ConvStem(nn.Module):
    """Makes the tokens of the same patches by 3x3 convolutions of stride 2, each halving the picture.

    Between two convolutions are a norm over the picture and a GELU. A token sees pixels around its patch,
    too; the padding is chosen so that the middle of what it sees is that of its patch, to half a pixel.

    Source: after Xiao et al. 2021, "Early Convolutions Help Transformers See Better", arXiv:2106.14881.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.img_size = config.img_size
        steps = config.patch_size.bit_length() - 1
        widths = [
            3,
            *(max(config.embed_dim >> (steps - 1 - i), 8) for i in range(steps - 1)),
            config.embed_dim,
        ]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for width in widths[1:-1])
        side = config.patch_size, config.patch_size
        self.windows = side, side, (config.patch_padding, config.patch_padding)
        """Size, stride and padding of the patches, for `masks.PatchWindows`."""
        shift = (
            config.patch_size - 1
        ) // 2 - config.patch_padding  # from a token's number times 16 to its middle
        self._before = tuple(1 - (shift >> i & 1) for i in range(steps))

    @property
    def first(self) -> nn.Conv2d:
        """The convolution that reads the pictures."""
        conv = self.convs[0]
        assert isinstance(conv, nn.Conv2d)
        return conv

    def reset_parameters(self) -> None:
        """Initialise for training from scratch: outputs of about the size of the inputs."""
        for conv in self.convs:
            assert isinstance(conv, nn.Conv2d)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)

    def forward(self, img: Tensor) -> Tensor:
        """See `PatchEmbed`."""
        check_images(img, self.img_size)
        x = img
        for i, (conv, before) in enumerate(zip(self.convs, self._before, strict=True)):
            x = conv(F.pad(x, (before, 1 - before, before, 1 - before)))
            if i < len(self.norms):
                x = F.gelu(self.norms[i](x))
        return x.flatten(2).transpose(1, 2)


def patch_embedding(config: ViTConfig) -> PatchEmbed | ConvStem:
    """The stem that a configuration names."""
    return ConvStem(config) if config.stem == CONV_STEM else PatchEmbed(config)


def check_images(img: Tensor, size: tuple[int, int]) -> None:
    """Refuse pictures of another shape than `[B, 3, *size]`.

    Raises:
        InputError: they have one.
    """
    if img.ndim != 4 or img.shape[1] != 3 or tuple(img.shape[-2:]) != tuple(size):
        height, width = size
        raise InputError(f"the backbone expects images [B, 3, {height}, {width}], found {list(img.shape)}.")


def check_pixels(img: Tensor, model: str, values: str) -> None:
    """Refuse pictures of whole numbers, such as uint8: converted to the weights' dtype, 0..255 would pass for
    pixels in the range that the model expects.

    Args:
        img: the pictures.
        model: which model, for the message.
        values: which pixels it expects, for the message.

    Raises:
        InputError: they are not floating-point numbers.
    """
    if not img.is_floating_point():
        found = str(img.dtype).removeprefix("torch.")
        raise InputError(f"{model} expects {values} as floating-point numbers, found {found}.")
