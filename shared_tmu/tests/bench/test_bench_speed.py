"""The benchmark: yardsticks that count the same tokens, figures computed right, records that say all."""

import signal
import sys
import types
from collections import defaultdict
from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_bench import TOKENS
from toy_hand_model import program_of
from toy_vit import GammaBlock, ScaledBlock, SequentialViT, ToyViT

from shared_tmu import Schedule, TMUError, patch
from shared_tmu.bench import speed
from shared_tmu.bench.costs import count_flops, peak_memory_mib, vertex_error_mm
from shared_tmu.bench.floor import make_floor
from shared_tmu.bench.measured_model import MeasuredModel, Variant
from shared_tmu.bench.runtimes import find_runtime
from shared_tmu.bench.speed import OFF, REFERENCE, SpeedSettings, compare_variant, measure_speed
from shared_tmu.flops import TrunkShape
from shared_tmu.programs.model_program import MODELS, ModelProgram, find_program
from shared_tmu.programs.random_models import build_random, share_weights
from shared_tmu.programs.timing import Comparison, Timing, measure_calls

CPU = torch.device("cpu")
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
    shape = TrunkShape(4, 32, 4, tokens + prefix, prefix, mlp_ratio=3)
    costs = Schedule.parse(schedule).layer_costs(shape)
    assert found == sum(cost.attention + cost.mlp for cost in costs)


def test_torch_counts_fused_attention_too():
    q = torch.randn(2, 4, 48, 8)
    with torch.inference_mode():
        found = count_flops(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q))
    assert found == 2 * 2 * 2 * 4 * 48 * 48 * 8


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


def test_calls_are_measured_in_turn():
    log = []
    times = measure_calls({1: lambda: log.append(1), 2: lambda: log.append(2)}, CPU, rounds=2, warmup=1)
    assert log == [1, 2, 2, 1, 1, 2]
    assert set(times) == {1, 2}


# models


def test_random_models_are_alike_finite_and_ready():
    one, two = (build_random(lambda: ToyViT(depth=2, task_tokens=3, block=GammaBlock)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not one.training
    assert one.blocks[0].norm1.weight.eq(1).all()
    assert not one.blocks[0].mlp.fc1.bias.any()
    assert 0.015 < one.blocks[1].mlp.fc1.weight.std() < 0.025
    assert one(torch.randn(1, 5, 32)).isfinite().all()


def test_drawing_is_skipped_only_while_building():
    build_random(lambda: torch.nn.Linear(3, 3))
    assert torch.empty(100).uniform_().std() > 0.1


def test_memory_full_of_large_numbers_does_not_keep_truncated_draws_going():
    class Drawn(torch.nn.Module):
        def __init__(self):
            super().__init__()
            garbage = torch.full((4, 4), 1e9)  # what uninitialised memory may hold
            self.weight = torch.nn.Parameter(torch.nn.init.trunc_normal_(garbage, std=0.02))
            self.other = torch.nn.Parameter(torch.nn.init.uniform_(torch.full((4,), torch.nan)))

    def too_long(*_):
        raise TimeoutError("still drawing")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(20)
    try:
        model = build_random(Drawn)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert 0 < model.weight.std() < 0.1
    assert model.other.eq(0).all()


def test_copies_share_memory_but_nothing_that_can_be_changed():
    vit = ToyViT(depth=2).eval()
    copied = share_weights(vit)
    assert copied.blocks[0].attn.qkv.weight.data_ptr() == vit.blocks[0].attn.qkv.weight.data_ptr()
    patch(copied, "3x1")
    copied.to(torch.bfloat16)
    assert {p.dtype for p in vit.parameters()} == {torch.float32}
    assert type(vit.blocks) is torch.nn.ModuleList


# costs


def test_peak_memory_is_what_a_call_holds_at_once():
    weight = torch.randn(256, 1024)  # 1 MiB

    def call():
        one = weight + 1
        two = one * 2
        del one
        return two.sum(), two + 3

    assert peak_memory_mib(call, CPU) == pytest.approx(2, abs=0.01)


def test_vertex_errors_are_millimetres():
    a = torch.zeros(1, 2, 3)
    b = torch.tensor([[[0.003, 0.0, 0.004], [0.0, 0.0, 0.0]]])
    assert vertex_error_mm(b, a) == pytest.approx({"mean": 2.5, "max": 5.0})


# the whole measurement


class ToyModel(torch.nn.Module):
    """A ViT with a head, as a model folder has."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ToyViT(depth=4)
        self.head = torch.nn.Linear(32, 3)

    def forward(self, batch):
        return {"vertices": self.head(self.backbone(batch["x"].to(self.head.weight.dtype)))}


@pytest.fixture
def program(tmp_path):
    return program_of(tmp_path, None, tmp_path, SmallProgram, estimates=TOKENS)


class SmallProgram(ModelProgram):
    """One size."""

    sizes: ClassVar = {"small": lambda: build_random(ToyModel)}


def measure(program, scope="model", **changes):
    options = {
        "schedules": (Schedule.parse("3x3"), Schedule.parse("2x1")),
        "batch_sizes": (1, 2),
        "dtypes": {"float32": torch.float32, "auto": torch.bfloat16},
        "rounds": 2,
        "warmup": 0,
    }
    subject = MeasuredModel(program, "small", CPU, scope)
    return list(measure_speed(program, subject, SpeedSettings(**options | changes)))


def test_records_say_everything(program):
    records = measure(program)
    assert [(r["batch_size"], r["dtype"], r["schedule"]) for r in records] == [
        (b, d, s) for b in (1, 2) for d in ("float32", "bfloat16") for s in ("off", "3x3", "2x1")
    ]
    merged = records[4]
    assert (merged["tokens"], merged["tokens_kept"]) == (20, 11)
    assert merged["dtype_asked"] == "auto"
    assert merged["flop_ideal"] > records[5]["flop_ideal"] > 1
    assert merged["peak_memory_mib"] > 0
    assert 0 < records[3]["vertex_error_mm"]["mean"] < 10
    assert records[0]["vertex_error_mm"] == {"mean": 0, "max": 0}
    assert {"versions", "machine", "commit", "rounds", "parameters"} <= set(merged)
    assert records[0]["reference_latency_ms"] == records[0]["latency_ms"]
    assert len(merged["latency_ms"]) == 2
    off = records[3]
    assert merged["speedup_over_reference"] == pytest.approx(
        merged["speedup"] * off["speedup_over_reference"]
    )


@pytest.fixture
def rows_timed(monkeypatch):
    """Which variants were timed together, row by row; times are made up."""
    timed = []

    def time_them(calls, device, **options):
        timed.append(list(calls))
        return {variant: Timing((2.0 + number, 2.0)) for number, variant in enumerate(calls)}

    monkeypatch.setattr(speed, "measure_calls", time_them)
    return timed


def test_a_row_is_given_before_the_next_is_measured(program, rows_timed):
    settings = SpeedSettings(
        (Schedule.parse("3x3"), Schedule.parse("2x1")), (2,), {"auto": torch.bfloat16}, rounds=2, warmup=0
    )
    rows = measure_speed(program, MeasuredModel(program, "small", CPU), settings)
    assert [next(rows)["schedule"], next(rows)["schedule"], len(rows_timed)] == ["off", "3x3", 1]
    assert [next(rows)["schedule"], len(rows_timed)] == ["2x1", 2]
    off = Variant(torch.bfloat16, "eager", OFF)
    first, second = (Variant(torch.bfloat16, "eager", s) for s in settings.schedules)
    assert rows_timed == [[REFERENCE, off, first, first.floor()], [off, second, second.floor()]]


def test_off_alone_and_two_names_of_one_dtype_are_timed_once(program, rows_timed):
    assert [r["schedule"] for r in measure(program, schedules=(), batch_sizes=(1,))] == ["off", "off"]
    assert len(rows_timed) == 2
    rows_timed.clear()
    twice = {"float32": torch.float32, "auto": torch.float32}
    records = measure(program, dtypes=twice, batch_sizes=(1,))
    assert [(r["dtype_asked"], r["schedule"]) for r in records] == [
        (asked, schedule) for asked in twice for schedule in ("off", "3x3", "2x1")
    ]
    assert len(rows_timed) == 2


def test_known_rows_are_not_measured_again(program, rows_timed, monkeypatch):
    environment = {"versions": {"torch": "2"}, "machine": {"cpu_threads": 1}, "commit": "abc"}
    monkeypatch.setattr(speed, "describe_environment", lambda device, folder: dict(environment))

    def go_on(known):
        subject = MeasuredModel(program, "small", CPU)
        options = {"rounds": 2, "warmup": 0}
        settings = SpeedSettings((Schedule.parse("3x3"),), (1, 2), {"float32": torch.float32}, **options)
        rows_timed.clear()
        return [(r["batch_size"], r["schedule"]) for r in measure_speed(program, subject, settings, known)]

    whole = measure(program, dtypes={"float32": torch.float32}, schedules=(Schedule.parse("3x3"),))
    assert go_on(whole) == rows_timed == []
    assert go_on(whole[:3]) == [(2, "3x3")]  # its unpatched model has a row, but is needed to compare with
    assert rows_timed[0][0] == REFERENCE
    assert len(rows_timed[0]) == 3
    assert go_on([whole[1], whole[2], whole[3]]) == [(1, "off")]
    for changes in ({"commit": "abd"}, {"machine": {"cpu_threads": 2}}, {"size": "large"}):
        assert len(go_on([{**record, **changes} for record in whole])) == 4
    environment["commit"] = "abc-dirty"  # which changes is not known
    assert len(go_on([{**record, "commit": "abc-dirty"} for record in whole])) == 4


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no oneDNN")
def test_packed_weights_are_a_runtime_with_the_same_vertices(program):
    packed = measure(program, runtimes=("packed",), dtypes={"float32": torch.float32}, batch_sizes=(3,))
    assert {r["runtime"] for r in packed} == {"packed"}
    assert max(r["vertex_error_mm"]["max"] for r in packed) < 0.01
    assert packed[0]["reference_latency_ms"] != packed[0]["latency_ms"]


def test_the_vit_alone_is_measured_without_its_head(program):
    whole, vit = measure(program, batch_sizes=(1,)), measure(program, "vit", batch_sizes=(1,))
    assert vit[1]["scope"] == "vit"
    assert vit[1]["flop_ideal"] > whole[1]["flop_ideal"]
    assert vit[1]["vertex_error_mm"] is None


def test_the_model_is_left_as_it_was(program):
    subject = MeasuredModel(program, "small", CPU)
    before = {name: value.clone() for name, value in subject.build(REFERENCE).state_dict().items()}
    settings = SpeedSettings((Schedule.parse("3x3"),), (1,), {"bfloat16": torch.bfloat16}, rounds=1, warmup=0)
    list(measure_speed(program, subject, settings))
    after = subject.build(REFERENCE)
    assert type(after.backbone.blocks) is torch.nn.ModuleList
    assert all(torch.equal(value, before[name]) for name, value in after.state_dict().items())


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda program: MeasuredModel(program, "huge", CPU), "no size 'huge': use one of small"),
        (lambda program: measure(program, runtimes=("warp",)), "no runtime 'warp': use one of eager"),
        (lambda program: measure(program, schedules=(Schedule.parse("1x9"),)), "names 9 layers"),
        (lambda _: find_runtime("eager", torch.device("mps")), "not on mps"),
    ],
)
def test_what_cannot_be_measured(program, ask, message):
    with pytest.raises(TMUError, match=message):
        ask(program)


# finding the model


def install(monkeypatch, *names):
    """Model packages of these names, as far as finding them goes."""
    packages = {name: name.lower().replace("-", "_") for name in names}
    found = [EntryPoint(name, f"{packages[name]}.program:PROGRAM", MODELS) for name in names]
    monkeypatch.setattr("shared_tmu.programs.model_program.entry_points", lambda group: found)
    for name, package in packages.items():
        module = types.ModuleType("program")
        module.PROGRAM = name
        monkeypatch.setitem(sys.modules, f"{package}.program", module)


def test_installed_models_are_found_by_name(monkeypatch):
    install(monkeypatch, "HaMeR", "SMPLest-X")
    assert [find_program(name) for name in ("hamer", "HaMeR", "smplest_x")] == ["HaMeR", "HaMeR", "SMPLest-X"]
    with pytest.raises(TMUError, match=r"no model 'empty': use one of HaMeR, SMPLest-X\."):
        find_program("empty")


def test_where_no_model_is_installed_it_says_how(monkeypatch):
    install(monkeypatch)
    with pytest.raises(TMUError, match=r"pip install \./HaMeR_TMU"):
        find_program("hamer")
