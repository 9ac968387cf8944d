"""Packed weights: the same numbers, the same model, given back."""

from __future__ import annotations

import copy
import io
import threading

import pytest
import torch
from torch import nn
from toy_vit import SequentialViT, ToyViT

from shared_tmu import patch
from shared_tmu.blocks import verification
from shared_tmu.blocks.state import describe_structure
from shared_tmu.errors import PatchError
from shared_tmu.runtime.packing import PackedLinear, pack_weights

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no oneDNN")

DTYPES = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=["float32", "bfloat16"]
)


def packed_layers(model):
    return sum(isinstance(layer, PackedLinear) for layer in model.modules())


@DTYPES
@pytest.mark.parametrize(
    ("shape", "outputs", "bias"),
    [
        ((1,), 1, True),
        ((3, 7), 5, False),
        ((2, 13, 33), 65, True),
        ((1, 1, 16), 16, True),
        ((0, 4, 8), 3, True),
    ],
)
@torch.no_grad()
@pytest.mark.usefixtures("poisoned_memory")
def test_equals_the_plain_layer(shape, outputs, bias, dtype, tolerance):
    model = nn.Sequential(nn.Linear(shape[-1], outputs, bias)).to(dtype)
    x = torch.randn(shape).to(dtype)
    want = model(x)
    with pack_weights(model) as handle:
        assert handle.num_layers == packed_layers(model) == 1
        got = model(x)
        sliced = model(x.repeat(*[1] * (x.ndim - 1), 2)[..., : shape[-1]])  # not contiguous
    assert got.shape == want.shape
    for values in (got, sliced):
        torch.testing.assert_close(values, want, atol=tolerance, rtol=tolerance)
    assert torch.equal(model(x), want)


@DTYPES
@pytest.mark.parametrize("build", [ToyViT, SequentialViT])
@torch.no_grad()
def test_packing_and_patching_in_either_order(build, dtype, tolerance):
    vit = build(depth=4, task_tokens=5).eval().to(dtype)
    x = torch.randn(2, 40, 32).to(dtype)
    plain = vit(x)
    keys = list(vit.state_dict())
    with patch(vit, "6x3", num_prefix_tokens=5):
        want = vit(x)
        with pack_weights(vit):
            torch.testing.assert_close(vit(x), want, atol=tolerance, rtol=tolerance)
        assert torch.equal(vit(x), want)
    with pack_weights(vit):
        torch.testing.assert_close(vit(x), plain, atol=tolerance, rtol=tolerance)
        assert list(vit.state_dict()) == keys
        with patch(vit, "6x3", num_prefix_tokens=5):
            torch.testing.assert_close(vit(x), want, atol=tolerance, rtol=tolerance)
    assert packed_layers(vit) == 0
    assert torch.equal(vit(x), plain)


@torch.no_grad()
def test_packing_makes_no_other_kind_of_block(monkeypatch):
    """Else each block would be checked on its own, at every patch: 32 times the work."""
    vit, x = ToyViT(depth=4).eval(), torch.randn(1, 40, 32)
    checked = []
    monkeypatch.setattr(verification, "verify_block", lambda block, *_: checked.append(block))
    with pack_weights(vit):
        for _ in range(2):  # before the first forward has packed anything, and after
            assert len({describe_structure(block) for block in vit.blocks}) == 1
            checked.clear()
            with patch(vit, "6x3"):
                assert checked == [vit.blocks.unmerged()[0]]
                vit(x)
            vit(x)
        vit.blocks[2].mlp.fc1.by_another = object()
        with patch(vit, "6x3"):
            assert vit.blocks.unmerged()[2] in checked


@torch.no_grad()
def test_a_changed_weight_is_packed_again():
    model = nn.Sequential(nn.Linear(8, 8))
    x = torch.randn(3, 8)
    with pack_weights(model):
        model(x)
        for change in (
            lambda: model[0].weight.mul_(2),
            lambda: model.load_state_dict({"0.weight": torch.eye(8), "0.bias": torch.zeros(8)}),
            lambda: setattr(model[0], "weight", nn.Parameter(torch.eye(8) * 3)),
        ):
            change()
            want = nn.functional.linear(x, model[0].weight, model[0].bias)
            torch.testing.assert_close(model(x), want)
        model.to(torch.bfloat16)
        assert model(x.bfloat16()).dtype == torch.bfloat16
    assert torch.equal(model[0].weight, 3 * torch.eye(8, dtype=torch.bfloat16))  # changes stay


@torch.no_grad()
def test_writes_that_pytorch_does_not_count_need_packing_again():
    model = nn.Sequential(nn.Linear(8, 8))
    x = torch.randn(3, 8)
    with pack_weights(model) as handle:
        for _ in range(2):
            model[0].weight.data.mul_(2)
            handle.repack()
            torch.testing.assert_close(model(x), nn.functional.linear(x, model[0].weight, model[0].bias))


def test_gradients_autocast_and_other_dtypes_take_the_plain_layer():
    model = nn.Sequential(nn.Linear(6, 4))
    x = torch.randn(5, 6, requires_grad=True)
    want = torch.autograd.grad(model(x).square().sum(), [x, *model.parameters()])
    with pack_weights(model):
        got = torch.autograd.grad(model(x).square().sum(), [x, *model.parameters()])
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert model(x).dtype == torch.bfloat16
        model.double()
        assert model(x.double()).dtype == torch.float64
        assert torch.compile(model, fullgraph=True, backend="eager")(x.double()).shape == (5, 4)


@torch.no_grad()
def test_copies_and_files_hold_no_packed_weight():
    model = nn.Sequential(nn.Linear(6, 4))
    x = torch.randn(5, 6)
    with pack_weights(model):
        want = model(x)
        again = copy.deepcopy(model)
        assert again[0]._packed is None
        torch.testing.assert_close(again(x), want)
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        torch.testing.assert_close(torch.load(file, weights_only=False)(x), want)
        model[0].weight.zero_()
        torch.testing.assert_close(again(x), want)  # a copy has weights of its own


def test_works_under_inference_mode_and_with_weights_made_there():
    with torch.inference_mode():
        model = nn.Sequential(nn.Linear(6, 4))
        x = torch.randn(5, 6)
        want = model(x)
        with pack_weights(model):
            torch.testing.assert_close(model(x), want)


@torch.no_grad()
def test_a_shared_layer_stays_one_layer():
    layer = nn.Linear(6, 6)
    model = nn.ModuleDict({"a": nn.Sequential(layer), "b": nn.Sequential(layer)})
    with pack_weights(model):
        assert model["a"][0] is model["b"][0]
    assert model["a"][0] is model["b"][0] is layer


@torch.no_grad()
def test_two_threads():
    model = nn.Sequential(nn.Linear(64, 64))
    inputs = [torch.randn(7 + i, 64) for i in range(2)]
    want = [model(x) for x in inputs]
    wrong = []
    with pack_weights(model):

        def work(i):
            wrong.extend(i for _ in range(50) if not torch.allclose(model(inputs[i]), want[i], atol=1e-5))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_mode_and_hooks_are_kept():
    model, calls = nn.Sequential(nn.Linear(4, 4)), []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    handle = pack_weights(model)
    model.eval()
    with torch.no_grad():
        model(torch.randn(1, 4))
    handle.remove()
    handle.remove()
    assert (calls, model[0].training, handle.num_layers) == ([1], False, 0)


def test_what_cannot_be_packed_is_refused():
    model = nn.Sequential(nn.Linear(4, 4))
    with pack_weights(model), pytest.raises(PatchError, match="already packed"):
        pack_weights(model)
    with pytest.raises(PatchError, match=r"contains no nn\.Linear"):
        pack_weights(nn.Sequential(nn.ReLU()))
    with pytest.raises(PatchError, match=r"torch.float64 on cpu: convert it first"):
        pack_weights(nn.Sequential(nn.Linear(4, 4)).double())
    assert type(model[0]) is nn.Linear
