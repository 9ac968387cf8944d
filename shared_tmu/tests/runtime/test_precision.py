"""The number format: chosen by what the device has, with its reason and its error."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from shared_tmu.errors import InputError
from shared_tmu.runtime import precision
from shared_tmu.runtime.precision import choose_dtype, convert, cpu_features, vertex_error

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("features", "want", "reason"),
    [
        ({"avx512_bf16", "avx2"}, torch.bfloat16, "AVX512-BF16"),
        ({"amx_bf16", "avx512_bf16"}, torch.bfloat16, "AMX"),
        ({"bf16", "neon"}, torch.bfloat16, "Arm"),
        ({"avx2", "avx512_f", "avx512_vnni"}, torch.float32, "no instructions for bfloat16"),
        (set(), torch.float32, "no instructions for bfloat16"),
    ],
)
def test_auto_on_a_cpu_follows_its_instructions(monkeypatch, features, want, reason):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(precision, "cpu_features", lambda: frozenset(features))
    choice = choose_dtype("auto", CPU)
    assert choice.dtype == want
    assert reason in str(choice)


def test_auto_without_onednn_is_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert choose_dtype("auto", CPU).dtype == torch.float32


@pytest.mark.parametrize("name", precision.DTYPES)
def test_a_name_is_taken_as_asked(name):
    assert choose_dtype(name, CPU).dtype == getattr(torch, name)


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="no dtype 'int8': use one of auto, float32"):
        choose_dtype("int8", CPU)


def test_features_without_the_function_come_from_linux(monkeypatch, tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu avx2 avx512_bf16\nbugs : none\n")
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(precision, "Path", lambda _: cpuinfo)
    assert cpu_features() == {"fpu", "avx2", "avx512_bf16"}
    cpuinfo.unlink()
    assert cpu_features() == frozenset()


def test_vertex_error_is_in_millimetres():
    reference = torch.zeros(2, 4, 3)
    found = reference.clone()
    found[1, 2] = torch.tensor([0.003, 0.004, 0.0])  # 5 mm
    error = vertex_error(found, reference)
    assert error.max_mm == pytest.approx(5)
    assert error.mean_mm == pytest.approx(5 / 8)
    assert str(error) == "0.625 mm mean, 5.000 mm largest over 2 samples"


def test_converting_compares_with_the_model_before():
    model = nn.Linear(6, 6).eval()
    x = torch.randn(3, 2, 6)

    def vertices():
        return model(x.to(model.weight.dtype)).reshape(3, 4, 3).float()

    want = vertices().detach()
    assert convert(model, torch.float32, vertices) is None
    error = convert(model, torch.bfloat16, vertices)
    assert model.weight.dtype == torch.bfloat16
    assert error == vertex_error(vertices(), want)
    assert 0 < error.mean_mm < 20
