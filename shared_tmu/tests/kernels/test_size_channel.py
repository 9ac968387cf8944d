"""Sizes in a key channel against the softmax written out, and the choice between channel and mask."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from shared_tmu.blocks.attention import proportional_attention
from shared_tmu.errors import KernelError
from shared_tmu.kernels import attention_choice, current, using
from shared_tmu.kernels.attention_choice import faster_path, prefers_channel
from shared_tmu.kernels.size_channel import attend_by_channel, widen
from shared_tmu.plans.reference import attend_explicitly

SHAPES = [(1, 1, 1, 4), (2, 3, 17, 8), (1, 2, 33, 5), (2, 4, 92, 80), (1, 2, 50, 62), (1, 1, 20, 128)]


@pytest.fixture(autouse=True)
def forget_measurements(monkeypatch):
    monkeypatch.setattr(attention_choice, "_measured", {})


@pytest.mark.parametrize("scale", [None, 0.05, 1.0, 3.0])
@pytest.mark.parametrize(("batch", "heads", "tokens", "width"), SHAPES)
def test_equals_the_explicit_softmax(batch, heads, tokens, width, scale, dtype, tolerance, device):
    q, k, v = torch.randn(3, batch, heads, tokens, width, dtype=dtype, device=device).unbind(0)
    size = torch.randint(1, 4097, (batch, tokens), device=device).float()
    got = attend_by_channel(q, k, v, size, scale)
    want = attend_explicitly(q.double(), k.double(), v.double(), size, scale)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), want, atol=3 * tolerance, rtol=3 * tolerance)


@pytest.mark.parametrize("scale", [1e-4, 0.09, 0.125, 0.3, 1.0, 50.0])
def test_the_channels_hold_the_logarithm(scale, dtype):
    """In 16 bits, both parts together are as exact as two numbers can be; one alone is off by 0.016."""
    size = torch.arange(1, 4097).float().view(1, -1)
    q = torch.zeros(1, 1, 4096, 6, dtype=dtype)
    wide_q, wide_k, wide_v = widen(q, q, q, size, scale)
    logits = (wide_q[:, :, :1].double() @ wide_k.double().transpose(2, 3)).flatten() * scale
    tolerance = {torch.bfloat16: 1e-4, torch.float16: 1e-5, torch.float32: 2e-6, torch.float64: 1e-6}[dtype]
    torch.testing.assert_close(logits, size.double().log().flatten(), atol=tolerance, rtol=0)
    assert wide_q.shape[3] % 8 == 0
    assert wide_v.shape == wide_q.shape
    if dtype == torch.bfloat16:
        assert (size.log().to(dtype).double() - size.double().log()).abs().max() > 0.01


def test_no_mask_reaches_the_fused_kernel(monkeypatch):
    seen = []
    fused = F.scaled_dot_product_attention

    def spy(*args, **options):
        seen.append((len(args), options.get("attn_mask")))
        return fused(*args, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    q = torch.randn(2, 2, 5, 4)
    with using(attention="channel"):
        proportional_attention(q, q, q, torch.full((2, 5), 2.0))
    assert seen == [(3, None)]


def test_gradients():
    q, k, v = (torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    size = torch.tensor([[1.0, 2.0, 1.0, 4.0, 1.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(attend_by_channel, (q, k, v, size))
    padded = torch.tensor([[1.0, 2.0, 0.0, 4.0, 0.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda q, k, v: attend_by_channel(q, k, v, padded), (q, k, v))
    out = attend_by_channel(q.bfloat16(), k.bfloat16(), v.bfloat16(), size)
    (grad,) = torch.autograd.grad(out.float().sum(), size)
    (want,) = torch.autograd.grad(attend_explicitly(q, k, v, size).sum(), size)
    torch.testing.assert_close(grad, want, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("path", ["mask", "channel"])
def test_nobody_attends_to_padding(path, dtype, device):
    """Keys of size 0 might as well not be there, whatever is in them."""
    q, k, v = torch.randn(3, 2, 2, 9, 8, dtype=dtype, device=device).unbind(0)
    size = torch.randint(1, 9, (2, 9), device=device).float()
    with using(attention=path):
        want = proportional_attention(q, k, v, size)
        far = torch.full((2, 2, 4, 8), 30.0, dtype=dtype, device=device)
        longer = [torch.cat([t, far], dim=2) for t in (q, k, v)]
        got = proportional_attention(*longer, torch.cat([size, size.new_zeros(2, 4)], dim=1))
    assert got.isfinite().all()
    tolerance = {torch.float16: 2e-3, torch.bfloat16: 1e-2}.get(dtype, 1e-6)
    torch.testing.assert_close(got[:, :, :9], want, atol=tolerance, rtol=tolerance)


def test_a_cpu_keeps_the_mask():
    q = torch.randn(2, 4, 1024, 80)
    assert not prefers_channel(q, None)
    with using(attention="channel"):
        assert prefers_channel(q, None)
        assert not prefers_channel(q, -1.0)  # no power of two is near 1 / scale
    assert current().attention == "auto"


def test_choices_are_checked_and_given_back():
    with (
        pytest.raises(KernelError, match="no attention 'flash': use one of auto, mask, channel"),
        using(attention="flash"),
    ):
        pass
    with using(merging="torch"), using(attention="mask") as choice:
        assert (choice.merging, choice.attention) == ("torch", "mask")
    with pytest.raises(ValueError, match="inside"), using(merging="torch"):
        raise ValueError("inside")
    assert (current().merging, current().attention) == ("auto", "auto")


def test_triton_needs_a_gpu():
    from shared_tmu.kernels.choice import uses_triton

    assert not uses_triton(torch.zeros(1))
    with using(merging="triton"):
        with pytest.raises(KernelError, match="these tensors are on cpu"):
            uses_triton(torch.zeros(1))
        with pytest.raises(KernelError, match=r"not torch\.float64"):
            uses_triton(torch.zeros(1, dtype=torch.float64))


def test_the_faster_path_is_measured_once_per_kind_of_shape(monkeypatch):
    asked = []

    def measure(device, dtype, shape, trained):
        asked.append((shape, trained))
        return {"mask": 2.0, "channel": 1.0 if shape[2] > 128 else 3.0}

    monkeypatch.setattr(attention_choice, "measure_paths", measure)
    cpu = torch.device("cpu")
    assert faster_path(cpu, torch.float32, 3, 16, 182, 80, False) == "channel"
    assert faster_path(cpu, torch.float32, 4, 16, 130, 80, False) == "channel"
    assert faster_path(cpu, torch.float32, 4, 16, 120, 80, False) == "mask"
    assert faster_path(cpu, torch.float32, 4, 16, 120, 80, True) == "mask"
    assert faster_path(cpu, torch.float32, 1, 16, 1025, 80, False) == "channel"
    assert asked == [
        ((4, 16, 192, 80), False),
        ((4, 16, 128, 80), False),
        ((4, 16, 128, 80), True),
        ((1, 16, 2048, 80), False),
    ]


@pytest.mark.parametrize("trained", [False, True])
def test_measuring_leaves_no_trace(trained, device, monkeypatch):
    monkeypatch.setattr(attention_choice, "ROUNDS", 2)
    torch.manual_seed(3)
    want = torch.randn(3, device=device)
    torch.manual_seed(3)
    with torch.inference_mode():
        seconds = attention_choice.measure_paths(device, torch.float32, (1, 2, 16, 8), trained)
    assert set(seconds) == {"mask", "channel"}
    assert all(value > 0 for value in seconds.values())
    assert torch.equal(torch.randn(3, device=device), want)
    assert current().attention == "auto"


@pytest.mark.parametrize("path", ["mask", "channel"])
def test_compiled_in_one_graph(path, monkeypatch):
    """The measurement happens while the compiler traces, and its result is a constant of the graph."""
    asked = []

    def measure(device, dtype, shape, trained):
        asked.append(shape)
        return {"mask": 1.0 if path == "mask" else 3.0, "channel": 2.0}

    monkeypatch.setattr(attention_choice, "measure_paths", measure)
    q, k, v = torch.randn(3, 2, 2, 9, 8).unbind(0)
    size = torch.randint(1, 9, (2, 9)).float()

    def attend(q, k, v, size):
        if faster_path(q.device, q.dtype, *q.shape, False) == "channel":
            return attend_by_channel(q, k, v, size)
        return proportional_attention(q, k, v, size)

    torch._dynamo.reset()
    got = torch.compile(attend, fullgraph=True, backend="aot_eager")(q, k, v, size)
    torch.testing.assert_close(got, attend_explicitly(q, k, v, size), atol=1e-5, rtol=1e-5)
    assert asked == [(2, 2, 64, 8)]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("tokens", [32, 92, 192, 1000])
@pytest.mark.parametrize("width", [64, 80, 128])
def test_flash_takes_the_channel_path(tokens, width, dtype):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from torch.nn.attention import SDPBackend, sdpa_kernel

    x = torch.randn(2, tokens, 3, 16, width, device="cuda", dtype=dtype)
    q, k, v = x.permute(2, 0, 3, 1, 4).unbind(0)
    size = torch.randint(1, 30, (2, tokens), device="cuda").float()
    with using(attention="channel"), sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        got = proportional_attention(q, k, v, size)
    want = attend_explicitly(q.double(), k.double(), v.double(), size)
    torch.testing.assert_close(got.double(), want, atol=6e-2, rtol=6e-2)
    with using(attention="mask"), sdpa_kernel(SDPBackend.FLASH_ATTENTION), pytest.raises(RuntimeError):
        proportional_attention(q, k, v, size)


@pytest.mark.gpu
def test_auto_measures_on_the_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    q = torch.randn(16, 16, 150, 80, device="cuda", dtype=torch.bfloat16)
    prefers_channel(q, None)
    assert list(attention_choice._measured) == [("cuda:0", torch.bfloat16, (16, 16, 192, 80), False)]
