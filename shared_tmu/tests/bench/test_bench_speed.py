"""The benchmark: yardsticks that count the same tokens, figures computed right, records that say all."""

from collections import defaultdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_vit import GammaBlock, ScaledBlock, SequentialViT, ToyViT

from shared_tmu import Schedule, TMUError, patch
from shared_tmu.bench.floor import make_floor
from shared_tmu.bench.measured_model import Variant
from shared_tmu.bench.speed_figures import OFF, REFERENCE, compare_variant
from shared_tmu.flops import TrunkShape
from shared_tmu.methods import count_costs
from shared_tmu.programs.flop_counter import count_flops
from shared_tmu.programs.timing import Comparison, Timing
from shared_tmu.runtime.packing import pack_if_possible

SCHEDULES = ("off", "1x1", "5x3", "2x2+7x1+0x1+3x2", "0x2+6x1", "9", "100", "6@-1", "3@0.7", "20x1", "4x6")


class TokenCounter:
    """Counts the tokens that reach every attention and every MLP, by hooks on what computes them."""

    def __init__(self, vit: ToyViT) -> None:
        self.seen = defaultdict(list)
        for number in range(len(vit.blocks)):
            block = vit.blocks[number]  # a patched ViT iterates over its trunk as one
            for part in ("attn.qkv", "attn.proj", "norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                block.get_submodule(part).register_forward_pre_hook(self._count(number, part))
        vit.last_norm.register_forward_pre_hook(self._count(len(vit.blocks), "last_norm"))

    def _count(self, number, part):
        return lambda _, arguments: self.seen[number, part].append(tuple(arguments[0].shape))


def count(vit, x, schedule, floor, **options):
    """Shapes of everything that the trunk's parts were given in one forward."""
    with torch.inference_mode():
        patch(vit, schedule, **options)
        if floor:
            make_floor(vit)
        counter = TokenCounter(vit)
        vit(x)
    return dict(counter.seen)


def check_equal_counts(
    schedule, tokens, prefix, unmerge=True, proportional=True, kind=ToyViT, depth=6, **more
):
    options = {"num_prefix_tokens": prefix, "unmerge": unmerge, "proportional": proportional}
    x = torch.randn(2, tokens - prefix, 32)
    merged, floor = (
        count(kind(depth=depth, task_tokens=prefix, **more).eval(), x, schedule, is_floor, **options)
        for is_floor in (False, True)
    )
    assert merged == floor
    counts = Schedule.parse(schedule).token_counts(depth, tokens, prefix)
    for layer in range(depth):
        for part in ("norm1", "attn.qkv", "attn.proj"):
            assert floor[layer, part] == [(2, counts[layer], 32)], (layer, part)
        for part, width in (("norm2", 32), ("mlp.fc1", 32), ("mlp.fc2", 64)):
            assert floor[layer, part] == [(2, counts[layer + 1], width)], (layer, part)
    assert floor[depth, "last_norm"] == [(2, tokens if unmerge else counts[-1], 32)]


@pytest.mark.parametrize("unmerge", [True, False])
@pytest.mark.parametrize("prefix", [0, 1, 18])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_floor_and_trunk_process_equal_tokens_in_every_layer(schedule, prefix, unmerge):
    check_equal_counts(schedule, tokens=41, prefix=prefix, unmerge=unmerge)


@given(
    schedule=st.lists(st.integers(0, 30), min_size=6, max_size=6),
    patches=st.integers(1, 40),
    prefix=st.integers(0, 5),
    unmerge=st.booleans(),
    proportional=st.booleans(),
)
def test_floor_and_trunk_process_equal_tokens_whatever_is_asked(
    schedule, patches, prefix, unmerge, proportional
):
    check_equal_counts(schedule, patches + prefix, prefix, unmerge, proportional)


@pytest.mark.parametrize("block", [GammaBlock, ScaledBlock])
def test_floor_and_trunk_process_equal_tokens_in_other_blocks(block):
    check_equal_counts("5x3", 30, 2, block=block)
    check_equal_counts("5x3", 30, 0, kind=SequentialViT, block=block)


def test_the_counter_sees_a_single_token_too_many():
    x = torch.randn(2, 30, 32)
    merged = count(ToyViT(depth=4).eval(), x, "5x3", floor=False)
    assert merged != count(ToyViT(depth=4).eval(), x, "5x2+4x1", floor=True)


def test_the_floor_of_a_schedule_that_removes_nothing_is_the_model():
    vit, x = ToyViT(depth=3).eval(), torch.randn(1, 7, 32)
    expected = vit(x)
    patch(vit, "0x2")
    make_floor(vit)
    assert torch.equal(vit(x), expected)


def test_the_floor_drops_the_last_tokens_and_fills_up_with_zeros():
    vit, x = ToyViT(depth=2).eval(), torch.randn(1, 10, 32)
    vit.last_norm = torch.nn.Identity()
    expected = vit(x[:, :])
    patch(vit, "0x1+4x1")
    make_floor(vit)
    out = vit(x)
    torch.testing.assert_close(out[:, :6], expected[:, :6], atol=1e-5, rtol=1e-5)
    assert not out[:, 6:].any()


def test_an_unpatched_model_has_no_floor():
    with pytest.raises(TMUError, match="not patched"):
        make_floor(ToyViT())


@pytest.mark.parametrize("schedule", ["off", "5x3", "9"])
@pytest.mark.parametrize("prefix", [0, 3])
def test_torch_counts_the_flops_of_the_cost_model(schedule, prefix):
    vit, tokens = ToyViT(depth=4, task_tokens=prefix, heads=4, hidden=96).eval(), 40
    with torch.inference_mode(), patch(vit, schedule, num_prefix_tokens=prefix):
        make_floor(vit)
        found = count_flops(lambda: vit(torch.randn(1, tokens, 32)))
    shape = TrunkShape(4, 32, tokens + prefix, prefix, mlp_ratio=3)
    assert found == sum(cost.flops for cost in count_costs("tome", Schedule.parse(schedule), shape))


def test_torch_counts_fused_attention_too():
    q = torch.randn(2, 4, 48, 8)
    with torch.inference_mode():
        found = count_flops(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q))
    assert found == 2 * 2 * 2 * 4 * 48 * 48 * 8


def test_layers_with_packed_weights_are_counted_too():
    layer = torch.nn.Sequential(torch.nn.Linear(24, 40))
    with torch.inference_mode(), pack_if_possible(layer):
        found = count_flops(lambda: layer(torch.randn(2, 5, 24)))
    assert found == 2 * 2 * 5 * 24 * 40


# figures

SAME = Comparison(1.0, (1.0, 1.0))


def test_overhead_is_time_over_floor_and_speedups_are_over_their_baselines():
    own = Variant(torch.bfloat16, "eager", Schedule.parse("5x20"))
    times = {
        own: Timing((2.0, 2.2, 2.1)),
        own.floor(): Timing((2.0, 2.0, 2.0)),
        Variant(torch.bfloat16, "eager", OFF): Timing((4.0, 4.4, 4.2)),
    }
    row = compare_variant(own, times, 2.5, off_over_reference=Comparison(4.0, (3.0, 5.0)))
    assert row["overhead"] == pytest.approx(0.05)
    assert row["overhead_quartiles"] == pytest.approx([0.025, 0.075])
    assert row["speedup"] == pytest.approx(2.0)
    assert row["floor_speedup"] == pytest.approx(2.1)
    assert row["realised"] == pytest.approx(0.8)
    assert row["speedup_over_reference"] == pytest.approx(8.0)
    low, high = row["speedup_quartiles"]
    assert row["speedup_over_reference_quartiles"] == pytest.approx([3 * low, 5 * high])
    assert row["pays"] is True
    assert row["latency_ms"] == [2000, 2200, 2100]
    assert row["floor_latency_ms"] == [2000, 2000, 2000]


@pytest.mark.parametrize(
    ("own", "pays"),
    [((0.9, 0.8, 0.9, 0.9), True), ((1.1, 1.2, 1.1, 1.1), False), ((0.9, 1.05, 0.95, 1.1), False)],
)
def test_a_schedule_pays_only_if_nearly_all_rounds_were_faster(own, pays):
    variant = Variant(torch.float32, "eager", Schedule.parse("5x2"))
    times = {variant: Timing(own), variant.floor(): Timing((0.5,) * 4), REFERENCE: Timing((1.0,) * 4)}
    assert compare_variant(variant, times, 1.5, SAME)["pays"] is pays


def test_off_is_its_own_floor():
    row = compare_variant(REFERENCE, {REFERENCE: Timing((1.0, 1.1))}, 1.0, SAME)
    assert (row["speedup"], row["overhead"], row["pays"]) == (1.0, 0.0, True)
