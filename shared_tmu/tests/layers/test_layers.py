"""ECLM: merge operator and models with fewer blocks; E1 to E8 are the acceptance criteria, see also
`test_search`."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from toy_vit import SequentialViT, ToyBlock, ToyViT

from shared_tmu import patch
from shared_tmu.errors import LayersError
from shared_tmu.layers import (
    VARIANTS,
    BlocksOf,
    LayerRecipe,
    check_partition,
    describe_partition,
    find_windows,
    linear_cka,
    merge_blocks,
    merge_layers,
    shortened,
    singles,
)
from shared_tmu.models.vit import DropPath, ViT, ViTConfig


def make_blocks(count: int, seed: int = 0) -> list[ToyBlock]:
    torch.manual_seed(seed)
    blocks = [ToyBlock() for _ in range(count)]
    for block in blocks:
        for parameter in block.parameters():  # norms differ, too
            nn.init.normal_(parameter, std=0.2)
    return blocks


def make_vit(depth: int, seed: int = 0) -> ToyViT:
    vit = ToyViT(depth=depth).eval()
    vit.blocks = nn.ModuleList(make_blocks(depth, seed)).eval()
    return vit


def states(blocks: list[nn.Module]) -> list[dict[str, torch.Tensor]]:
    return [block.state_dict() for block in blocks]


def test_e1_two_blocks_become_exactly_the_later_one() -> None:
    blocks = make_blocks(2)
    merged = merge_blocks(blocks).state_dict()
    for name, tensor in blocks[1].state_dict().items():
        assert torch.equal(merged[name], tensor), name


@pytest.mark.parametrize("count", [3, 4, 5])
def test_e2_more_blocks_become_equation_4(count: int) -> None:
    blocks = make_blocks(count)
    merged, parts = merge_blocks(blocks).state_dict(), states(blocks)
    for name, tensor in merged.items():
        want = parts[0][name] + sum(part[name] - parts[0][name] for part in parts[1:])
        torch.testing.assert_close(tensor, want, rtol=0, atol=1e-6)


def test_the_variants_are_what_they_say() -> None:
    blocks = make_blocks(4)
    first, *_, last = states(blocks)
    merged = {variant: merge_blocks(blocks, variant).state_dict() for variant in VARIANTS}
    for name in first:
        is_norm = "norm" in name
        assert torch.equal(merged["last"][name], last[name])
        assert torch.equal(merged["drop"][name], first[name])
        assert torch.equal(merged["slm"][name], (first if is_norm else last)[name])
        mean = torch.stack([state[name] for state in states(blocks)]).mean(0)
        torch.testing.assert_close(merged["mean"][name], mean)


def test_merging_blocks_refuses_what_it_cannot_do() -> None:
    blocks = make_blocks(2)
    with pytest.raises(LayersError, match=r"no variant 'eq5'.*eq4, last"):
        merge_blocks(blocks, "eq5")
    with pytest.raises(LayersError, match=r"block 1 of 2 differs.*attn\.proj"):
        merge_blocks([blocks[0], ToyBlock(width=64)])
    with pytest.raises(LayersError, match="no blocks"):
        merge_blocks([])


def make_identity(block: ToyBlock) -> None:
    for linear in (block.attn.proj, block.mlp.fc2):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)


def distance_from(vit: ToyViT, image: torch.Tensor):
    """The error of a partition: distance to the unmerged model's own output."""
    place = BlocksOf(vit, "blocks")
    truth = vit(image)

    @torch.no_grad()
    def error_of(partition) -> float:
        blocks = place.blocks
        trial = place.replaced([merge_blocks(blocks[a : b + 1]) for a, b in partition])
        return float((trial(image) - truth).abs().max())

    return error_of


@torch.no_grad()
def test_e4_a_merged_models_error_measured_afresh_is_within_the_bound() -> None:
    """The error is one that blocks cause, not a table: of the model that is returned, not of the trial's."""
    vit, tokens = make_vit(8, seed=4), torch.randn(2, 46, 32)
    error_of, own = distance_from(vit, tokens), vit(tokens)
    least = min(trial.error for trial in find_windows(8, error_of, 0.0).trials)
    depths = set()
    for threshold in (least * factor for factor in (0.5, 1.01, 1.2, 1.4, 1.6, 2.0)):
        found = find_windows(8, error_of, threshold, flush=True)
        merged = merge_layers(BlocksOf(vit, "blocks"), found.partition)
        afresh = float((merged(tokens) - own).abs().max())
        assert found.base == 0.0
        assert afresh == found.error
        assert afresh < threshold if found.depth < 8 else afresh == 0.0
        depths.add(found.depth)
    assert 8 in depths
    assert len(depths) > 2


@pytest.mark.parametrize("planted", [1, 2, 3, 4])
@torch.no_grad()
def test_e6_a_planted_identity_is_merged_with_its_successor(planted: int) -> None:
    vit = make_vit(6, seed=planted)
    make_identity(vit.blocks[planted])
    tokens = torch.randn(2, 46, 32)
    found = find_windows(6, distance_from(vit, tokens), 1e-5)
    assert (planted, planted + 1) in found.partition
    merged = merge_layers(BlocksOf(vit, "blocks"), found.partition)
    torch.testing.assert_close(merged(tokens), vit(tokens), rtol=0, atol=1e-5)
    assert len(merged.blocks) == found.depth == 5


@torch.no_grad()
def test_e6_two_identities_before_a_block_and_one_at_the_front() -> None:
    vit = make_vit(6)
    make_identity(vit.blocks[2])
    vit.blocks[3].load_state_dict(vit.blocks[2].state_dict())
    tokens = torch.randn(2, 46, 32)
    assert (2, 4) in find_windows(6, distance_from(vit, tokens), 1e-5).partition
    vit = make_vit(6)
    make_identity(vit.blocks[0])
    error_of = distance_from(vit, tokens)
    assert find_windows(6, error_of, 1e-5).partition == singles(6)
    assert find_windows(6, error_of, 1e-5, flush=True).partition[0] == (0, 1)


@torch.no_grad()
def test_e5_the_original_is_untouched_also_when_the_evaluation_raises() -> None:
    vit = ToyViT(depth=4).eval()
    tokens = torch.randn(2, 46, 32)
    want, state = vit(tokens), copy.deepcopy(vit.state_dict())
    blocks = list(vit.blocks)
    measured = distance_from(vit, tokens)

    def fails(partition) -> float:
        measured(partition)
        if partition != singles(4):
            raise RuntimeError("the disk is full")
        return 0.0

    with pytest.raises(RuntimeError, match="disk"):
        find_windows(4, fails, 1e9)
    merge_layers(BlocksOf(vit, "blocks"), ((0, 2), (3, 3))).blocks[0].mlp.fc1.weight.zero_()
    assert all(a is b for a, b in zip(vit.blocks, blocks, strict=True))
    assert all(torch.equal(tensor, state[name]) for name, tensor in vit.state_dict().items())
    assert torch.equal(vit(tokens), want)


def test_e8_a_merged_vit_is_smaller_and_takes_a_patch() -> None:
    with torch.device("meta"):
        huge = ViT(ViTConfig(depth=6))
    fewer = merge_layers(BlocksOf(huge, "blocks"), ((0, 0), (1, 3), (4, 5)))
    sizes = [sum(p.numel() for p in model.parameters()) for model in (huge, fewer)]
    assert sizes[0] - sizes[1] == 3 * 19_677_440
    vit = ViT(ViTConfig(img_size=(64, 48), embed_dim=32, depth=6, num_heads=2, drop_path_rate=0.5)).eval()
    merged = merge_layers(BlocksOf(vit, "blocks"), ((0, 0), (1, 3), (4, 5)))
    counts = [sum(p.numel() for p in model.parameters()) for model in (vit, merged)]
    assert counts[0] - counts[1] == 3 * sum(p.numel() for p in vit.blocks[0].parameters())
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in merged.blocks]
    assert rates == [0.0, 0.25, 0.5]
    image = torch.randn(2, 3, 64, 48)
    with torch.no_grad(), patch(merged, "2x3", num_prefix_tokens=0, record=True) as handle:
        assert merged(image).shape == vit(image).shape
        assert handle.plan is not None
        assert handle.plan.num_slots == 12 - 6


@pytest.mark.parametrize("names", [("drop_path",), ("drop_path1", "drop_path2")])
def test_rates_of_stochastic_depth_go_from_the_first_to_the_last(names) -> None:
    """One module for both halves, or one for each, as in timm."""
    vit = ToyViT(depth=4)
    for block, rate in zip(vit.blocks, (0.05, 0.15, 0.25, 0.35), strict=True):
        for name in names:
            setattr(block, name, DropPath(rate))
    merged = merge_layers(BlocksOf(vit, "blocks"), ((0, 1), (2, 2), (3, 3)))
    for name in names:
        rates = [getattr(block, name).drop_prob for block in merged.blocks]
        assert rates == pytest.approx([0.05, 0.2, 0.35])
        assert [getattr(block, name).drop_prob for block in vit.blocks] == [0.05, 0.15, 0.25, 0.35]


@pytest.mark.parametrize("build", [ToyViT, SequentialViT])
@torch.no_grad()
def test_a_trunk_patched_with_off_is_merged_into_a_plain_one(build, tokens) -> None:
    vit, partition = build(depth=6).eval(), ((0, 0), (1, 3), (4, 5))
    want = merge_layers(BlocksOf(vit, "blocks"), partition)(tokens)
    with patch(vit, "off"):
        merged = merge_layers(BlocksOf(vit, "blocks"), partition)
        assert type(merged.blocks) is type(build().blocks)
        assert torch.equal(merged(tokens), want)
        with shortened(BlocksOf(vit, "blocks"), LayerRecipe(partition, "eq4", "")):
            assert torch.equal(vit(tokens), want)
        assert len(vit.blocks) == 6


@pytest.mark.parametrize(("path", "what"), [("block", "nothing"), ("last_norm", "a LayerNorm")])
def test_a_path_without_blocks_is_refused(path, what) -> None:
    with pytest.raises(LayersError, match=f"ToyViT are looked for at '{path}', and {what} is there"):
        BlocksOf(ToyViT(), path).blocks  # noqa: B018


@pytest.mark.parametrize("partition", [(), ((0, 1),), ((0, 0), (2, 3)), ((0, 2), (2, 3)), ((0, 3), (4, 3))])
def test_what_is_no_partition_is_refused(partition) -> None:
    with pytest.raises(LayersError, match="blocks 0 to 3"):
        check_partition(partition, 4)


def test_partitions_are_described() -> None:
    assert describe_partition(((0, 0), (1, 2), (3, 3), (4, 6))) == "1-2, 4-6"
    assert describe_partition(singles(4)) == "nothing merged"


def test_cka_is_one_for_turned_and_scaled_features_and_small_for_others() -> None:
    torch.manual_seed(0)
    x = torch.randn(500, 8)
    turn = torch.linalg.qr(torch.randn(8, 8)).Q
    found = linear_cka([x, 3.0 * x @ turn + 5.0, torch.randn(500, 8)])
    torch.testing.assert_close(found.diagonal(), torch.ones(3).double())
    assert found[0, 1] == pytest.approx(1.0)
    assert found[0, 2] < 0.1
    assert torch.equal(found, found.T)
    with pytest.raises(LayersError, match=r"\[400, 500\]"):
        linear_cka([x, x[:400]])
