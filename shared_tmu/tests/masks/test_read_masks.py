"""Masks that are read inside the trunk: when, by whom, in which order, and what is refused."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from toy_vit import SequentialViT, ToyViT

from shared_tmu import patch, run_trunk
from shared_tmu.errors import PatchError
from shared_tmu.masks import AttentionMask, TokenProbe
from shared_tmu.method_parts.protection import to_flags
from shared_tmu.method_parts.read_masks import GivenOrRead, ReadMask, Weighed

VITS = pytest.mark.parametrize("build", [ToyViT, SequentialViT])
PREFIX = 3


class FirstChannel(ReadMask):
    """Tokens whose first channel is above 0.5; keeps what it was given."""

    def forward(self, x, block, before=None):
        self.seen, self.block_given = x, block
        return x[:, :, 0] > 0.5


@VITS
@torch.no_grad()
def test_at_block_0_it_is_a_mask_of_the_tokens(build, tokens):
    vit = build(depth=4).eval()
    want, route = run_trunk(
        vit.blocks, tokens, "8x3", num_prefix_tokens=PREFIX, mask=tokens[:, PREFIX:, 0] > 0.5
    )
    mask = FirstChannel()
    with patch(vit, "8x3", num_prefix_tokens=PREFIX, mask=mask, record=True) as handle:
        assert torch.equal(vit(tokens), vit.last_norm(want))
        assert torch.equal(handle.plan.source_map, route.source_map)
        assert handle.mask is mask
    assert mask.seen.shape[1] == tokens.shape[1] - PREFIX
    assert mask.block_given is vit.blocks[0]
    assert list(vit.state_dict()) == list(build(depth=4).state_dict())


@VITS
@torch.no_grad()
def test_at_a_later_block_it_reads_the_slots_that_are_left(build, tokens):
    vit = build(depth=4).eval()
    first, route = run_trunk(vit.blocks[:1], tokens, "8", num_prefix_tokens=PREFIX, unmerge=False)
    mask = FirstChannel(1)
    with patch(vit, "8x3", num_prefix_tokens=PREFIX, mask=mask, record=True) as handle:
        vit(tokens)
        assert torch.allclose(mask.seen, first[:, PREFIX:], atol=1e-6)
        shown = first[:, :, 0] > 0.5
        shown[:, :PREFIX] = False
        foreground = shown.gather(1, route.source_map)  # original tokens that were seen to be protected
        second, whole = (plan.source_map for plan in handle.plans[1:])
        for image in range(len(tokens)):
            slots = second[image][foreground[image]]
            groups = {frozenset(route.source_map[image][second[image] == slot].tolist()) for slot in slots}
            assert all(len(group) == 1 for group in groups)  # they have not merged in block 1
        assert whole.shape == tokens.shape[:2]


@torch.no_grad()
def test_known_masks_stay_and_the_others_are_read(tokens):
    vit = ToyViT(depth=4).eval()
    given = torch.zeros(len(tokens), tokens.shape[1] - PREFIX, dtype=torch.bool)
    given[0, :12] = True
    for block in (0, 2):
        read = FirstChannel(block)
        with patch(vit, "6x4", num_prefix_tokens=PREFIX, mask=read) as handle:
            alone = vit(tokens)
            with handle.masked(given):
                known = vit(tokens)
            with handle.masked(GivenOrRead(given, read)):
                both = vit(tokens)
        torch.testing.assert_close(both[0], known[0])
        torch.testing.assert_close(both[1], alone[1])
        assert not torch.allclose(known[0], alone[0])


@VITS
@torch.no_grad()
def test_block_by_block_compiled_copied_and_cast(build, tokens):
    vit = build(depth=4).eval()
    probe = TokenProbe(
        torch.randn(tokens.shape[2], generator=torch.Generator().manual_seed(0)), torch.zeros(()), 1
    )
    with patch(vit, "6x4", num_prefix_tokens=PREFIX, mask=probe) as handle:
        want = vit(tokens)
        x = tokens
        for block in vit.blocks:
            x = block(x)
        torch.testing.assert_close(vit.last_norm(x), want)
        twin = copy.deepcopy(vit)
        torch.testing.assert_close(twin(tokens), want)
        file = io.BytesIO()
        torch.save(vit, file)
        file.seek(0)
        torch.testing.assert_close(torch.load(file, weights_only=False)(tokens), want)
        compiled = torch.compile(vit, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(tokens), want)
        vit.to(torch.float64)
        assert handle.mask.weight.dtype == torch.float64
        assert vit(tokens.double()).dtype == torch.float64


@torch.no_grad()
def test_weighed_masks_are_read_and_given_in_one_unit(tokens):
    vit = ToyViT(depth=4).eval()
    given = torch.zeros(len(tokens), tokens.shape[1] - PREFIX, dtype=torch.bool)
    given[0, :12] = True
    for block in (0, 2):
        read = FirstChannel(block)
        with patch(vit, "6x4", num_prefix_tokens=PREFIX, mask=Weighed(read, 0.25)) as handle:
            alone = vit(tokens)
            with handle.masked(given * 0.25):
                known = vit(tokens)
            with handle.masked(Weighed(GivenOrRead(given, read), 0.25)):
                both = vit(tokens)
        torch.testing.assert_close(both[0], known[0])
        torch.testing.assert_close(both[1], alone[1])
    with patch(vit, "6x4", num_prefix_tokens=PREFIX, mask=Weighed(FirstChannel(), None)) as handle:
        strict = vit(tokens)
    with patch(vit, "6x4", num_prefix_tokens=PREFIX, mask=FirstChannel()):
        torch.testing.assert_close(vit(tokens), strict)


def test_what_does_not_fit_is_refused(tokens):
    vit = ToyViT(depth=4).eval()
    with pytest.raises(PatchError, match="read at block 4, but the ViT has 4 blocks: use 0 to 3"):
        patch(vit, "6x4", mask=FirstChannel(4))
    with (
        patch(vit, "6x4") as handle,
        handle.masked(FirstChannel(99)),
        pytest.raises(PatchError, match="99, but"),
    ):
        vit(tokens)
    with pytest.raises(PatchError, match="read at block 4, but the ViT has 4 blocks: use 0 to 3"):
        run_trunk(vit.blocks, tokens, "6x4", mask=FirstChannel(4))
    narrow = TokenProbe(torch.zeros(7), torch.zeros(()))
    with patch(vit, "6x4", mask=narrow), pytest.raises(PatchError, match="of 7 channels, but the ViT's have"):
        vit(tokens)
    with patch(vit, "0x2+6x2", mask=FirstChannel(0)), pytest.raises(PatchError, match="began at block 1"):
        vit.blocks[1](tokens)


@torch.no_grad()
def test_autocast_does_not_blur_a_probe(tokens):
    draws = torch.Generator().manual_seed(0)
    probe = TokenProbe(torch.randn(tokens.shape[2], generator=draws), torch.zeros(()))
    want = probe.score(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(probe.score(tokens), want)


@torch.no_grad()
def test_a_mask_that_is_read_after_the_last_merge_is_told_once(tokens, caplog):
    vit = ToyViT(depth=4).eval()
    for _ in range(2):
        run_trunk(vit.blocks, tokens, "6x3", mask=FirstChannel(2))
    assert not caplog.text
    for _ in range(2):
        run_trunk(vit.blocks, tokens, "6x2", mask=FirstChannel(2))
    assert caplog.text.count("read at block 2, but schedule '6x2' merges in no block from there on") == 1


@torch.no_grad()
def test_attention_singles_out_what_others_look_at(tokens):
    vit = ToyViT(depth=2).eval()
    block = vit.blocks[0]
    received = AttentionMask.received(tokens, block)
    q, k, _ = block.attn.qkv(block.norm1(tokens)).reshape(2, -1, 3, 4, 8).permute(2, 0, 3, 1, 4)
    weights = (q * 8**-0.5 @ k.transpose(-1, -2)).softmax(-1)
    torch.testing.assert_close(received, weights.mean((1, 2)))
    shown = AttentionMask()(tokens, block)
    assert shown.shape == tokens.shape[:2]
    assert received[shown].min() > received[~shown].max() or len(tokens) > 1
    with patch(vit, "6x2", mask=AttentionMask(1)):
        assert vit(tokens).shape == tokens.shape


@pytest.mark.parametrize("block", [0, 2])
@pytest.mark.parametrize("wrap", [lambda mask: mask, lambda mask: Weighed(mask, 0.25)])
@torch.no_grad()
def test_padding_is_neither_looked_at_nor_counted(block, wrap):
    vit, x = ToyViT(depth=4).double().eval(), torch.randn(4, 64, 32, dtype=torch.float64)
    x[1:] = x[1:, :1] + torch.tensor([0.4, 0.6, 0.8]).view(3, 1, 1) * x[1:]
    mask = wrap(AttentionMask(block))
    with patch(vit, "threshold:0.7", "ltmp", num_prefix_tokens=PREFIX, mask=mask, record=True) as handle:
        together = vit(x)
        assert handle.plan.is_padded
        for image in range(4):
            torch.testing.assert_close(together[image], vit(x[image : image + 1])[0])


@pytest.mark.parametrize("block", [0, 2])
@torch.no_grad()
def test_a_weight_of_0_is_no_mask(tokens, block):
    vit = ToyViT(depth=4).eval()
    given = torch.zeros(len(tokens), tokens.shape[1] - PREFIX, dtype=torch.bool)
    given[0, :12] = True
    with patch(vit, "6x4", num_prefix_tokens=PREFIX) as handle:
        plain = vit(tokens)
        read = FirstChannel(block).placed(vit.blocks)
        with handle.masked(Weighed(GivenOrRead(given, read), 0.0)):
            assert torch.equal(vit(tokens), plain)


@pytest.mark.parametrize("method", ["evit", "random", "pool", "drop", "pitome", "tome-random"])
@pytest.mark.parametrize("weight", [0.05, 0.25, 1.0, 4.0])
@torch.no_grad()
def test_half_of_any_weight_protects_for_methods_that_compare_nothing(tokens, method, weight):
    shares = torch.rand(len(tokens), tokens.shape[1] - PREFIX, generator=torch.Generator().manual_seed(1))

    def kept(mask, certain):
        generator = torch.random.get_rng_state()
        given = {"num_prefix_tokens": PREFIX, "mask": mask, "certain": certain}
        out = run_trunk(ToyViT(depth=4).eval().blocks, tokens, "4x1", method=method, **given)[1].source_map
        torch.random.set_rng_state(generator)
        return out

    if method not in ("pitome", "tome-random"):  # which also lower similarities
        assert torch.equal(kept(shares * weight, weight), kept(shares >= 0.5, 0.25))
    assert torch.equal(to_flags(shares * weight, weight), shares * weight >= weight / 2)
    assert not to_flags(shares * 0.0, 0.0).any()
