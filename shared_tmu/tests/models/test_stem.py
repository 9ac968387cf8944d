"""The convolutional stem: tokens of the same patches, off by default, and alike in everything behind it."""

import pytest
import torch
from torch import nn

from shared_tmu import patch
from shared_tmu.errors import ConfigError, InputError
from shared_tmu.masks import PatchWindows
from shared_tmu.models.config import ViTConfig
from shared_tmu.models.vit import ViT
from shared_tmu.training.grow import initialise_vit
from shared_tmu.training.optim import split_parameters
from shared_tmu.training.patches import encode_some

SIZES = {"depth": 2, "embed_dim": 32, "num_heads": 2}


def vit(**changes: object) -> ViT:
    torch.manual_seed(0)
    return ViT(ViTConfig(**{**SIZES, "stem": "conv", **changes})).eval()


def test_off_names_and_weights_are_the_published_ones():
    plain = vit(stem="patches")
    assert plain.config == ViTConfig(**SIZES)
    assert {k for k in plain.state_dict() if "embed" in k} == {
        "pos_embed",
        "patch_embed.proj.weight",
        "patch_embed.proj.bias",
    }
    assert vit().state_dict().keys() != plain.state_dict().keys()


@pytest.mark.parametrize(("padding", "size"), [(2, (256, 192)), (0, (64, 96)), (7, (32, 32)), (3, (48, 32))])
def test_a_token_sees_its_patch_and_is_in_its_middle(padding, size):
    stem = vit(patch_padding=padding, img_size=size).patch_embed
    stem.norms = nn.ModuleList(nn.Identity() for _ in stem.norms)  # they see the whole picture
    for conv in stem.convs:
        nn.init.ones_(conv.weight)
    rows, columns = stem.windows and PatchWindows.of(stem).grid(*size)
    assert (rows, columns) == (size[0] // 16, size[1] // 16)
    img = torch.rand(1, 3, *size, requires_grad=True)
    row, column = rows - 1 if padding == 0 else rows // 2, columns // 2
    stem(img)[0, row * columns + column].sum().backward()
    seen = img.grad[0].abs().sum(0)
    for axis, number in ((1, row), (0, column)):
        at = seen.sum(axis).nonzero()[:, 0]
        first, last = 16 * number - padding, 16 * number - padding + 15
        assert at[0] <= max(first, 0)
        assert at[-1] >= min(last, size[1 - axis] - 1)
        if at[0] > 0 and at[-1] < size[1 - axis] - 1:
            assert (at[0] + at[-1]) / 2 == pytest.approx((first + last) / 2, abs=0.51)


def test_masks_cover_the_same_tokens():
    assert PatchWindows.of(vit().patch_embed) == PatchWindows.of(vit(stem="patches").patch_embed)


def test_half_of_the_patches_are_those_of_the_whole():
    one, img = vit(), torch.randn(2, 3, 256, 192)
    every = torch.arange(192).expand(2, -1)
    torch.testing.assert_close(encode_some(one, img, every), one(img), rtol=0, atol=0)
    assert encode_some(one, img, every[:, ::2]).shape == (2, 96, 32)


def test_tokens_merge_behind_it():
    one, img = vit(depth=4), torch.randn(2, 3, 256, 192)
    plain = one(img)
    with patch(one, "off"):
        torch.testing.assert_close(one(img), plain, rtol=0, atol=0)
    with patch(one, "20x3"):
        assert one(img).shape == plain.shape
        assert not torch.equal(one(img), plain)
    torch.testing.assert_close(one(img), plain, rtol=0, atol=0)


def test_training_initialises_it_and_its_tokens_are_of_the_usual_size():
    one = vit()
    initialise_vit(one)
    tokens = one.patch_embed(torch.randn(4, 3, 256, 192))
    assert 0.2 < float(tokens.detach().std()) < 3
    _, embeddings, others = split_parameters(one)
    assert {id(p) for p in one.patch_embed.parameters()} <= {id(p) for p in (*embeddings, *others)}


@pytest.mark.parametrize(
    "changes",
    [
        {"stem": "convolutions"},
        {"patch_size": 12, "img_size": (48, 48)},
        {"img_size": (250, 192)},
        {"patch_padding": 8},
        {"patch_size": 1, "patch_padding": 0, "img_size": (16, 16)},
    ],
)
def test_a_stem_that_cannot_be_built_is_refused(changes):
    with pytest.raises(ConfigError, match="stem"):
        vit(**changes)


def test_pictures_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"\[B, 3, 256, 192\], found \[1, 3, 256, 256\]"):
        vit()(torch.zeros(1, 3, 256, 256))
