"""Profiles: parts that exclude each other and add up, and a model that is left as it was."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from toy_bench import TOKENS
from toy_hand_model import program_of
from toy_vit import ScaledBlock, SequentialViT, ToyViT

from shared_tmu import TMUError, patch
from shared_tmu.bench import part_timer as clock_module
from shared_tmu.bench.measured_model import MeasuredModel
from shared_tmu.bench.part_timer import PartClock
from shared_tmu.bench.pipeline import HandPipeline
from shared_tmu.bench.profile import MAX_UNACCOUNTED, PARTS, ProfileSettings, profile_parts
from shared_tmu.bench.report import format_profile, say_what_is_unaccounted
from shared_tmu.detect import Detection, HandBox
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.programs.random_models import build_random
from shared_tmu.schedule import Schedule

CPU = torch.device("cpu")
VIT_PARTS = {"attention", "MLP", "rest of the ViT"}
MERGE_PARTS = {"matching", "merging", "unmerging"}


def test_a_part_inside_another_counts_for_the_inner_one_only(monkeypatch):
    now = iter((0.0, 1.0, 3.0, 7.0, 10.0, 15.0))
    monkeypatch.setattr(clock_module.time, "perf_counter", lambda: next(now))
    clock = PartClock(CPU)
    with clock.part("outer"), clock.part("inner"):
        pass
    with clock.part("outer"):
        pass
    assert clock.seconds == {"outer": 1.0 + 4.0 + 5.0, "inner": 2.0}


def test_a_part_ends_with_an_error_too():
    clock = PartClock(CPU)
    with pytest.raises(ValueError, match="inside"), clock.part("a"), clock.part("b"):
        raise ValueError("inside")
    with clock.part("c"):
        pass
    assert set(clock.seconds) == {"a", "b", "c"}


@pytest.mark.parametrize("kind", [ToyViT, SequentialViT])
@pytest.mark.parametrize(
    ("schedule", "unmerge", "merging"),
    [
        ("off", True, set()),
        ("3x2", True, MERGE_PARTS),
        ("0x1+5x1", False, {"matching", "merging"}),
        ("0x1+5x1", "sparse", MERGE_PARTS),
    ],
)
def test_every_part_of_the_vit_is_seen(kind, schedule, unmerge, merging):
    if kind is ToyViT and merging:  # it iterates over its blocks, which give all tokens back every time
        merging = MERGE_PARTS
    vit, clock, x = kind(depth=4, block=ScaledBlock).eval(), PartClock(CPU), torch.randn(1, 20, 32)
    with torch.inference_mode(), patch(vit, schedule, unmerge=unmerge):
        expected = vit(x)
        with clock.watching(vit, []):
            watched = vit(x)
    assert torch.equal(watched, expected)
    assert set(clock.seconds) == VIT_PARTS | merging
    assert all(seconds > 0 for seconds in clock.seconds.values())


def test_watching_leaves_nothing_behind():
    vit = ToyViT(depth=3).eval()
    handle = patch(vit, "3x2")
    inside = [dict(vars(module)) for module in vit.modules()]
    watched = PartClock(CPU).watching(vit, [("norm", vit.last_norm)])
    with pytest.raises(ValueError, match="stop"), watched:
        raise ValueError("stop" if vit.blocks.settings.watch is not None else "not watched")
    assert [dict(vars(module)) for module in vit.modules()] == inside
    handle.remove()


class Time:
    """A clock that moves only when a module says so, so that every figure is exact."""

    now_s = 100.0


class SlowModule(torch.nn.Module):
    """Takes a known time and gives back what it was given."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, x):
        Time.now_s += self.seconds
        return x


class SlowModel(torch.nn.Module):
    """A model whose parts, and whose own code, take known times."""

    def __init__(self, own_s: float) -> None:
        super().__init__()
        self.backbone, self.head, self.own = ToyViT(depth=4), SlowModule(20.0), SlowModule(own_s)
        for block in self.backbone.blocks:
            block.mlp = torch.nn.Sequential(block.mlp, SlowModule(2.0))
            block.attn.proj = torch.nn.Sequential(block.attn.proj, SlowModule(1.0))
        self.backbone.last_norm = SlowModule(0.5)

    def forward(self, batch):
        own = [self.own]  # not called as a module: nobody watches it
        tokens = self.backbone(batch["x"])
        return self.head(own[0].forward(tokens))


def profile(monkeypatch, folder, own_s=0.0):
    class SlowProgram(ModelProgram):
        sizes: ClassVar = {"small": lambda: build_random(lambda: SlowModel(own_s))}

    program = program_of(folder, None, folder, SlowProgram, estimates=TOKENS, parts={"head": "head"})
    subject = MeasuredModel(program, "small", CPU)
    settings = ProfileSettings((Schedule.parse("3x2"),), (2,), {"float32": torch.float32}, folder, 3, 1)
    monkeypatch.setattr("time.perf_counter", lambda: Time.now_s)
    return list(profile_parts(subject, settings))


def test_the_parts_of_a_profile_add_up(monkeypatch, tmp_path):
    off, merged = profile(monkeypatch, tmp_path)
    assert (off["schedule"], merged["schedule"]) == ("off", "3x2")
    known = {"attention": 4000.0, "MLP": 8000.0, "rest of the ViT": 500.0, "head": 20000.0}
    assert off["parts_ms"] == pytest.approx(known)
    assert merged["parts_ms"] == pytest.approx(known | dict.fromkeys(MERGE_PARTS, 0.0))
    for record in (off, merged):
        assert record["unaccounted"] == pytest.approx(0)
        assert record["whole_ms"] == record["watched_ms"] == pytest.approx(32500)
        assert sum(record["shares"].values()) == pytest.approx(1)
        assert record["rounds"] == 3
        assert list(record["shares"]) == [name for name in PARTS if name in record["shares"]]
    (sentence,) = say_what_is_unaccounted([off, merged], MAX_UNACCOUNTED)
    assert "The parts add up" in sentence


def test_time_of_no_part_is_reported_as_such(monkeypatch, tmp_path):
    records = profile(monkeypatch, tmp_path, own_s=32.5)
    assert [record["unaccounted"] for record in records] == pytest.approx([0.5, 0.5])
    (sentence,) = say_what_is_unaccounted(records, MAX_UNACCOUNTED)
    assert "do NOT add up" in sentence
    assert "50.0 % is unaccounted" in sentence
    table = format_profile(records)
    assert "matching" in table
    assert "unaccounted" in table


class FixedDetector:
    """Finds the same hands in every picture; none in those called empty."""

    name = "fixed"

    def __init__(self) -> None:
        self.asked = []

    def detect(self, image, name):
        self.asked.append(name)
        box = HandBox((10.0, 10.0, 50.0, 60.0), True)
        return Detection(() if name == "empty" else (box, HandBox((20.0, 5.0, 60.0, 50.0), False)))


def pictures(*names):
    return {name: np.full((64, 64, 3), 90, np.uint8) for name in names}


def test_pictures_fill_a_batch_in_turn_and_empty_ones_are_left_out():
    pipeline = HandPipeline(pictures("a", "empty", "b"), 5, FixedDetector())
    assert [name for name, _ in pipeline.pictures] == ["a", "b", "a"]


def test_pictures_without_hands_cannot_be_profiled():
    with pytest.raises(TMUError, match="fixed finds no hand in empty"):
        HandPipeline(pictures("empty"), 2, FixedDetector())
