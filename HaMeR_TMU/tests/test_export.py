"""The whole HaMeR, MANO included: one graph for torch.compile, and the same numbers from onnxruntime."""

from pathlib import Path

import export
import pytest
import torch
from torch import Tensor

import tmu
from hamer import HaMeR, HaMeRConfig
from shared_tmu.body_models import load_mano
from shared_tmu.evaluation import EvalProgram
from shared_tmu.export import CompiledModel, OnnxModel
from shared_tmu.export.outputs import flatten_output
from shared_tmu.export.program import main

SMALL = {
    "image_size": 64,
    "backbone": {"img_size": [64, 48], "embed_dim": 32, "depth": 3, "num_heads": 2},
    "decoder": {"dim": 16, "depth": 1, "heads": 2, "dim_head": 8, "mlp_dim": 16, "context_dim": 32},
}


def model() -> HaMeR:
    torch.manual_seed(0)
    return HaMeR(HaMeRConfig.from_dict(SMALL), load_mano()).eval()


def images(count: int) -> dict[str, Tensor]:
    return {"img": torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(count))}


def assert_same(found: dict[str, object], wanted: dict[str, object], tolerance: float) -> None:
    ours, theirs = flatten_output(found), flatten_output(wanted)
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=tolerance, atol=tolerance, msg=name)


def test_the_whole_model_is_one_graph() -> None:
    torch._dynamo.reset()
    hamer = model()
    with tmu.patch(hamer, "2x2"), torch.no_grad():
        compiled = CompiledModel(hamer, backend="eager")
        for count in (2, 4):
            assert_same(compiled(images(count)), hamer(images(count)), 1e-5)
        assert hamer(images(0))["pred_vertices"].shape == (0, 778, 3)


def test_the_command_writes_a_file_for_any_batch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hamer, path = model(), tmp_path / "made" / "hamer.onnx"
    program = EvalProgram("HaMeR", tmp_path, lambda *_: hamer, tmu.patch, tmp_path)
    with caplog.at_level("INFO", logger="shared_tmu"):
        assert main(program, ["--r", "2x2", "--out", str(path)]) == 0
    assert "Against PyTorch" in caplog.text
    exported = OnnxModel(path)
    assert (exported.metadata["schedule"], exported.metadata["model"]) == ("2x2", "HaMeR")
    with tmu.patch(hamer, "2x2"), torch.no_grad():
        for count in (1, 5):
            assert_same(exported(images(count)), hamer(images(count)), 1e-4)


def test_what_cannot_be_exported_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert export.run(["--r", "8y4", "--out", str(tmp_path / "a.onnx")]) == 1
    assert "ScheduleError: cannot read '8y4'" in caplog.text
    assert export.run(["--r", "5x40", "--out", str(tmp_path / "a.onnx")]) == 1
    assert "names 40 layers" in caplog.text
    (tmp_path / "file").write_text("")
    assert export.run(["--r", "5x20", "--out", str(tmp_path / "file" / "a.onnx")]) == 1
    assert "cannot be written" in caplog.text
