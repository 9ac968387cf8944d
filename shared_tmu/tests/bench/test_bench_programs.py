"""Whole measurements of toy programs: models to time, costs, records, finding a model."""

import signal
import sys
import types
from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest
import torch
from toy_bench import TOKENS
from toy_hand_model import program_of
from toy_vit import GammaBlock, ToyViT

from shared_tmu import Schedule, TMUError, patch
from shared_tmu.bench import speed
from shared_tmu.bench.costs import peak_memory_mib, vertex_error_mm
from shared_tmu.bench.measured_model import MeasuredModel, Variant
from shared_tmu.bench.runtimes import find_runtime
from shared_tmu.bench.speed import SpeedSettings, measure_speed
from shared_tmu.bench.speed_figures import OFF, REFERENCE
from shared_tmu.programs.model_program import MODELS, ModelProgram, find_program
from shared_tmu.programs.random_models import build_random, share_weights
from shared_tmu.programs.timing import Timing, measure_calls

CPU = torch.device("cpu")


def test_calls_are_measured_in_turn():
    log = []
    times = measure_calls({1: lambda: log.append(1), 2: lambda: log.append(2)}, CPU, rounds=2, warmup=1)
    assert log == [1, 2, 2, 1, 1, 2]
    assert set(times) == {1, 2}


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


def test_records_tell_files_of_weights_apart(program, tmp_path):
    subject, file, digests = MeasuredModel(program, "small", CPU), tmp_path / "learned", set()
    for text in ("a", "b"):
        file.write_text(text)
        digests.add(subject.running("dtem", learned=file).facts()["learned_sha256"])
    assert len({*digests, subject.facts()["learned_sha256"]}) == 3


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
    for name in ("learned_sha256", "checkpoint_sha256"):
        assert whole[0][name] is None
        assert go_on([{key: record[key] for key in record if key != name} for record in whole]) == []
        assert len(go_on([{**record, name: "other weights"} for record in whole])) == 4
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
