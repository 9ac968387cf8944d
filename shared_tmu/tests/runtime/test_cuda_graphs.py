"""CUDA graphs against eager; what does not need a GPU is tested with a replay that runs the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from toy_vit import ToyViT

from shared_tmu import Schedule, patch
from shared_tmu.bench.runtimes import find_runtime
from shared_tmu.errors import CaptureError, InputError
from shared_tmu.runtime.cuda_graphs import CapturedModel, capture


@dataclass(frozen=True)
class Result:
    tokens: Tensor
    name: str


class Sums(NamedTuple):
    total: Tensor
    count: int


class Wrapped(nn.Module):
    """Nested arguments in, nested outputs out."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = ToyViT(depth=4, task_tokens=2).eval()
        self.eval()

    def forward(self, batch, factor=1.0):
        tokens = self.vit(batch["tokens"] * factor)
        return {"result": Result(tokens, "toy"), "sums": [Sums(tokens.sum((1, 2)) + batch["extra"][0], 3)]}


def batch_of(seed: int, device: str = "cpu", images: int = 2) -> dict:
    draws = torch.Generator().manual_seed(seed)
    tokens, extra = torch.randn(images, 30, 32, generator=draws), torch.randn(images, generator=draws)
    return {"tokens": tokens.to(device), "extra": (extra.to(device),)}


@pytest.fixture
def model():
    return Wrapped()


def replayed(model: nn.Module, *example) -> CapturedModel:
    """A captured model without a GPU: its replay runs the model and writes into the first outputs."""
    inputs = tuple(example)
    with torch.no_grad():
        outputs = model(*inputs)

    def replay() -> None:
        new = model(*inputs)
        outputs["result"].tokens.copy_(new["result"].tokens)
        outputs["sums"][0].total.copy_(new["sums"][0].total)

    return CapturedModel(model, inputs, outputs, replay)


def assert_equal(got, want) -> None:
    torch.testing.assert_close(got["result"].tokens, want["result"].tokens, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got["sums"][0].total, want["sums"][0].total, atol=1e-3, rtol=1e-5)
    assert (got["result"].name, got["sums"][0].count) == ("toy", 3)
    assert (type(got["result"]), type(got["sums"][0])) == (Result, Sums)


def test_new_values_go_in_and_stay_out(model):
    captured = replayed(model, batch_of(0))
    first = captured(batch_of(1))
    second = captured(batch_of(2))
    with torch.no_grad():
        assert_equal(first, model(batch_of(1)))  # not overwritten by the second
        assert_equal(second, model(batch_of(2)))
    shared = captured(batch_of(1), copy=False)
    assert shared["result"].tokens is captured(batch_of(2), copy=False)["result"].tokens


def test_callable_in_inference_mode(model):
    captured = replayed(model, batch_of(0))
    with torch.inference_mode():
        assert_equal(captured(batch_of(1)), model(batch_of(1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda b: b.update(tokens=b["tokens"][:1]),
            r"argument\[0\]\['tokens'\] is \[1, 30, 32\] float32 on cpu",
        ),
        (lambda b: b.update(tokens=b["tokens"].half()), r"captured for \[2, 30, 32\] float32 on cpu"),
        (lambda b: b.update(tokens=b["tokens"].to("meta")), "float32 on meta"),
        (lambda b: b.update(other=b["tokens"]), r"differ in argument\[0\]\['other'\]"),
        (lambda b: b.pop("extra"), r"differ in argument\[0\]\['extra'\]\[0\]"),
        (lambda b: b.update(extra=(3,)), r"\['extra'\]\[0\] is 3"),
    ],
    ids=["shape", "dtype", "device", "more", "less", "no-tensor"],
)
def test_unlike_arguments_are_refused(model, change, message):
    captured = replayed(model, batch_of(0))
    batch = batch_of(1)
    change(batch)
    with pytest.raises(CaptureError, match=message):
        captured(batch)


def test_other_constants_are_refused(model):
    captured = replayed(model, batch_of(0), 2.0)
    with pytest.raises(CaptureError, match=r"argument\[1\] is 3.0, but the model was captured with 2.0"):
        captured(batch_of(0), 3.0)
    captured(batch_of(0), 2.0)


def test_changed_models_are_refused(model):
    with patch(model, "3x4", num_prefix_tokens=2) as handle:
        captured = replayed(model, batch_of(0))
        captured(batch_of(1))
        handle.schedule = "2x4"
        with pytest.raises(CaptureError, match="its schedule was '3x4' and is '2x4'"):
            captured(batch_of(1))
        handle.schedule = "3x4"
    with pytest.raises(CaptureError, match="patch removed"):
        captured(batch_of(1))
    captured = replayed(model, batch_of(0))
    with patch(model, "3x4"), pytest.raises(CaptureError, match="patched"):
        captured(batch_of(1))
    captured(batch_of(1))
    model.train()
    with pytest.raises(CaptureError, match="training mode"):
        captured(batch_of(1))
    model.eval()
    model.vit.last_norm.weight.data.mul_(2)  # new values in the same memory are fine
    with torch.no_grad():
        assert_equal(captured(batch_of(1)), model(batch_of(1)))
    model.vit.last_norm.weight.data = model.vit.last_norm.weight.data.clone()
    with pytest.raises(CaptureError, match="tensor weight was moved"):
        captured(batch_of(1))


def test_what_cannot_be_captured_says_why(model):
    with pytest.raises(CaptureError, match=r"but those of the example are on: cpu\. On a CPU"):
        capture(model, batch_of(0))
    with pytest.raises(CaptureError, match="on: none"):
        capture(model, 3)
    with pytest.raises(CaptureError, match="a module or a method of one, but this is a function"):
        capture(lambda x: x, batch_of(0))


def test_the_benchmark_says_where_graphs_work():
    with pytest.raises(InputError, match="'graph' works on cuda, not on cpu: use one of eager"):
        find_runtime("graph", torch.device("cpu"))


@pytest.mark.gpu
class TestOnTheGpu:
    @pytest.fixture
    def model(self):
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        return Wrapped().cuda()

    @pytest.mark.parametrize("schedule", ["off", "3x4", "5x2"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_equal_to_eager(self, model, schedule, dtype):
        model.to(dtype)

        def batch(seed):
            made = batch_of(seed, "cuda")
            return {"tokens": made["tokens"].to(dtype), "extra": made["extra"]}

        with patch(model, schedule, num_prefix_tokens=2), torch.inference_mode():
            captured = capture(model, batch(0))
            for seed in (1, 2, 3):
                got, want = captured(batch(seed)), model(batch(seed))
                torch.testing.assert_close(got["result"].tokens, want["result"].tokens)

    def test_compiled_first(self, model):
        with patch(model, "3x4", num_prefix_tokens=2), torch.no_grad():
            captured = capture(torch.compile(model, fullgraph=True), batch_of(0, "cuda"))
            assert_equal(captured(batch_of(1, "cuda")), model(batch_of(1, "cuda")))

    def test_under_autocast(self, model):
        with patch(model, "3x4"), torch.autocast("cuda", torch.bfloat16), torch.no_grad():
            captured = capture(model, batch_of(0, "cuda"))
            got, want = captured(batch_of(1, "cuda")), model(batch_of(1, "cuda"))
            torch.testing.assert_close(got["result"].tokens, want["result"].tokens)

    @pytest.mark.parametrize("runtime", ["graph", "compile+graph"])
    def test_as_the_benchmark_runs_it(self, model, runtime):
        batch = batch_of(1, "cuda")
        with patch(model, "3x4", num_prefix_tokens=2), torch.inference_mode():
            call = find_runtime(runtime, torch.device("cuda")).prepare(model, (batch,), Schedule.parse("3x4"))
            assert_equal(call(), model(batch))

    def test_methods_too(self, model):
        with patch(model, "3x4"), torch.no_grad():
            x = batch_of(1, "cuda")["tokens"]
            torch.testing.assert_close(capture(model.vit.forward, torch.zeros_like(x))(x), model.vit(x))

    def test_a_changed_schedule_and_shape_are_refused(self, model):
        with patch(model, "3x4") as handle:
            captured = capture(model, batch_of(0, "cuda"))
            with pytest.raises(CaptureError, match="pad the batch"):
                captured(batch_of(0, "cuda", images=1))
            handle.schedule = "2x4"
            with pytest.raises(CaptureError, match="schedule"):
                captured(batch_of(0, "cuda"))

    def test_waiting_for_the_gpu_is_refused(self, model):
        class Waits(nn.Module):
            def forward(self, x):
                return x * float(x.sum())

        with pytest.raises(CaptureError, match="waits for the GPU"):
            capture(Waits().eval(), torch.ones(3, device="cuda"))
        torch.cuda.synchronize()
        assert_equal(capture(model, batch_of(0, "cuda"))(batch_of(1, "cuda")), model(batch_of(1, "cuda")))

    def test_training_mode_is_refused(self, model):
        with pytest.raises(CaptureError, match=r"call model.eval\(\)"):
            capture(model.train(), batch_of(0, "cuda"))
