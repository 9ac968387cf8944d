"""Plain ways to ONNX: a ViT that takes a tensor, and torch's own exporter on a patched model."""

from pathlib import Path

import pytest
import torch
from toy_vit import SequentialViT, ToyViT

from shared_tmu import patch
from shared_tmu.export import OnnxModel, export_onnx

ORT = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("vit_type", [ToyViT, SequentialViT])
def test_torchs_own_exporter_takes_a_patched_model(vit_type, tmp_path: Path) -> None:
    vit, x = vit_type(depth=2).eval(), torch.randn(2, 12, 32)
    x[:, 4:8] = x[:, :4]  # equal scores: the sort must be stable
    with patch(vit, "3x2", num_prefix_tokens=0), torch.no_grad():
        want = vit(x)
        torch.onnx.export(vit, (x,), dynamo=True, verbose=False).save(tmp_path / "vit.onnx")
    session = ORT.InferenceSession(tmp_path / "vit.onnx", providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(got), want, atol=1e-4, rtol=1e-4)


def test_a_vit_that_takes_a_tensor(tmp_path: Path) -> None:
    vit, x = SequentialViT(depth=2).eval(), torch.randn(2, 12, 32)
    with patch(vit, "3x2", num_prefix_tokens=0), torch.no_grad():
        want = vit(x)
        export_onnx(vit, x, tmp_path / "vit.onnx")
    run = OnnxModel(tmp_path / "vit.onnx")
    assert run.inputs == {"x": (None, 12, 32)}
    for given in (x, {"x": x}):
        torch.testing.assert_close(run(given)["output"], want, atol=1e-4, rtol=1e-4)
