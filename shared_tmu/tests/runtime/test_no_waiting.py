"""Nothing in a merged forward waits for the GPU, so that it can be captured in a graph: shown without a GPU.

Fake tensors have shapes and no numbers, so whatever depends on numbers (`.item()`, boolean masks, `nonzero`)
raises; values that come from Python (`torch.tensor([1, 2])`) are copied to a GPU, and refused here.
"""

from __future__ import annotations

import pytest
import torch
from suites.waiting import NoCopiesFromPython
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from toy_vit import ScaledBlock, SequentialViT, ToyViT

from shared_tmu import METHODS, patch, run_trunk, unmerge
from shared_tmu.kernels import choice, using


@pytest.fixture(params=["torch", "triton"])
def merging(request, monkeypatch):
    """Both ways to merge; fake tensors never reach a kernel, only its shapes."""
    monkeypatch.setattr(choice, "IS_INTERPRETED", True)
    with using(merging=request.param, attention="mask" if request.param == "torch" else "channel"):
        yield request.param


COUNTING = [name for name, row in METHODS.items() if row.reads == "counts"]  # others read numbers


@pytest.mark.parametrize("schedule", ["5x4", "3x2+8x1"])
@pytest.mark.parametrize("prefix", [0, 1, 18])
@pytest.mark.parametrize("method", COUNTING)
def test_a_merged_forward_depends_on_no_number(method, prefix, schedule, merging):
    with FakeTensorMode(), torch.no_grad():
        vit, x = ToyViT(depth=4).eval(), torch.randn(2, 60 + prefix, 32)
        with NoCopiesFromPython():
            options = {"method": method, "num_prefix_tokens": prefix, "grid": (10, 6)}
            out, plan = run_trunk(vit.blocks, x, schedule, **options)
            short, _ = run_trunk(vit.blocks, x, schedule, unmerge=False, **options)
            masked, _ = run_trunk(vit.blocks, x, schedule, mask=x[..., 0] > 0, **options)
            assert masked.shape == x.shape
            assert unmerge(short, plan).shape == out.shape == x.shape


@pytest.mark.parametrize("vit_type", [ToyViT, SequentialViT])
def test_nor_does_a_patched_model(vit_type, merging):
    with FakeTensorMode(), torch.no_grad():
        vit, x = vit_type(depth=4, task_tokens=3, block=ScaledBlock).eval(), torch.randn(2, 60, 32)
        handle = patch(vit, "5x4", num_prefix_tokens=3, record=True)
        with NoCopiesFromPython():
            assert vit(x).shape == (2, x.shape[1] + (3 if vit_type is ToyViT else 0), 32)
        assert handle.plan is not None
        assert handle.plan.num_slots == handle.plan.num_tokens - 20


@pytest.mark.gpu
@pytest.mark.parametrize("method", COUNTING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nor_does_the_gpu(method, dtype):
    """With real tensors: PyTorch itself refuses to wait. The first forward measures and compiles, and may."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    vit, x = ToyViT(depth=4).to("cuda", dtype).eval(), torch.randn(2, 60, 32, device="cuda", dtype=dtype)
    with patch(vit, "5x4", method, grid=(10, 6)), torch.no_grad():
        want = vit(x)
        torch.cuda.set_sync_debug_mode("error")
        try:
            got = vit(x)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    ("waits", "error"),
    [
        (lambda x: x.sum().item(), DataDependentOutputException),
        (lambda x: x[x > 0], DynamicOutputShapeException),
        (lambda x: x.nonzero(), DynamicOutputShapeException),
        (lambda x: x + torch.tensor([1.0]), AssertionError),
        (lambda x: x + x.new_tensor((1.0,)), AssertionError),
    ],
    ids=["item", "mask", "nonzero", "python", "new_tensor"],
)
def test_what_waits_is_noticed(waits, error):
    with FakeTensorMode(), NoCopiesFromPython(), pytest.raises(error):
        waits(torch.randn(3))
