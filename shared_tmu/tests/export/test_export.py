"""One graph for the whole model, and the same numbers from onnxruntime."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy_hand_model import Backbone

import shared_tmu
from shared_tmu.bench.runtimes import find_runtime
from shared_tmu.errors import ExportError, InputError, MissingAssetError, MissingDependencyError
from shared_tmu.export import CompiledModel, OnnxModel, export_onnx
from shared_tmu.export.onnx_export import output_file
from shared_tmu.export.outputs import flatten_output, nest_output
from shared_tmu.schedule import Schedule

onnxruntime = pytest.importorskip("onnxruntime")


class Nested(nn.Module):
    """A small ViT, with T learned tokens in front, and a dictionary within a dictionary."""

    def __init__(self, depth: int = 3, prefix: int = 0) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.backbone = Backbone(depth=depth)
        self.prefix = nn.Parameter(torch.randn(1, prefix, 16))
        self.head = nn.Linear(16, 5)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, object]:
        x = self.backbone.patch_embed(batch["img"]).flatten(2).transpose(1, 2)
        x = torch.cat((self.prefix.expand(x.shape[0], -1, -1), x), dim=1)
        for block in self.backbone.blocks:
            x = block(x)
        return {"tokens": x, "pose": {"betas": self.head(x.mean(1))}, "img": batch["img"]}


def images(count: int) -> dict[str, Tensor]:
    return {"img": torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(count))}


def worst(model: nn.Module, run: object, batch: dict[str, Tensor]) -> float:
    with torch.no_grad():
        wanted = flatten_output(model(batch))
    found = flatten_output(run(batch))
    assert {"tokens", "pose.betas"} <= set(found) <= set(wanted)
    return max(float((found[name] - wanted[name]).abs().max()) for name in found)


def test_names_nest_and_come_back() -> None:
    tensor = torch.zeros(1)
    assert flatten_output({"a": {"b": tensor}, "c": tensor}).keys() == {"a.b", "c"}
    assert nest_output({"a.b": 1, "a.d": 2, "c": 3}) == {"a": {"b": 1, "d": 2}, "c": 3}
    for wrong in (tensor, {"a": 3}, {"a.b": tensor}):
        with pytest.raises(ExportError):
            flatten_output(wrong)


def test_what_onnx_has_no_operator_for_is_one_sentence(tmp_path: Path) -> None:
    model = Nested().eval()
    with (
        shared_tmu.patch(model.backbone, "8x1", "atc", num_prefix_tokens=0),
        pytest.raises(ExportError) as caught,
    ):
        export_onnx(model, images(2), tmp_path / "model.onnx")
    assert str(caught.value) == (
        "Nested cannot be exported: ONNX has no operator for 'shared_tmu.cluster', which it calls."
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("schedule", "prefix"), [("off", 0), ("8x2", 0), ("6x1+4x2", 18), ("8x2", 1)])
def test_onnxruntime_gives_the_same(schedule: str, prefix: int, tmp_path: Path) -> None:
    model = Nested(prefix=prefix).eval()
    with shared_tmu.patch(model.backbone, schedule, num_prefix_tokens=prefix):
        files = export_onnx(
            model, images(2), tmp_path / "toy.onnx", dynamic_batch=False, metadata={"schedule": schedule}
        )
        exported = OnnxModel(tmp_path / "toy.onnx")
        assert files == [tmp_path / "toy.onnx"]
        assert sorted(tmp_path.iterdir()) == files
        assert exported.metadata["schedule"] == schedule
        assert worst(model, exported, images(2)) < 1e-4
    with pytest.raises(InputError, match=r"expects img of shape \[2, 3, 64, 64\], found \[3, 3, 64, 64\]"):
        exported(images(3))


def test_any_batch_size_and_equal_scores(tmp_path: Path) -> None:
    """Equal pictures of one colour make all scores equal: the first must count as the highest."""
    model = Nested(depth=2).eval()
    flat = {"img": torch.full((3, 3, 64, 64), 0.5)}
    with shared_tmu.patch(model.backbone, "9x2"):
        export_onnx(model, images(2), tmp_path / "toy.onnx")
        exported = OnnxModel(tmp_path / "toy.onnx")
        assert exported.inputs == {"img": (None, 3, 64, 64)}
        for count in (1, 2, 5):
            assert worst(model, exported, images(count)) < 1e-4
        assert worst(model, exported, flat) < 1e-4


def test_onnx_topk_puts_the_first_of_equals_first(tmp_path: Path) -> None:
    class Sort(nn.Module):
        def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            down = batch["x"].sort(dim=1, descending=True, stable=True).indices
            return {"down": down, "up": batch["x"].sort(dim=1, stable=True).indices}

    batch = {"x": torch.randint(0, 3, (4, 97)).float()}
    export_onnx(Sort().eval(), batch, tmp_path / "sort.onnx", dynamic_batch=False)
    found = OnnxModel(tmp_path / "sort.onnx")(batch)
    for name, wanted in Sort()(batch).items():
        assert torch.equal(found[name], wanted)


def test_the_benchmark_runs_it() -> None:
    model = Nested(depth=1).eval()
    run = find_runtime("onnx", torch.device("cpu"))
    with torch.inference_mode():
        call = run.prepare(model, (images(2),), Schedule.parse("off"))
        assert worst(model, lambda _: call(), images(2)) < 1e-4
        with pytest.raises(InputError, match="--scope model"):
            run.prepare(model, (images(2)["img"],), Schedule.parse("off"))


def test_large_weights_get_a_file_of_their_own(tmp_path: Path) -> None:
    model, path = Nested(depth=1).eval(), tmp_path / "toy.onnx"
    files = export_onnx(model, images(2), path, dynamic_batch=False, max_file_bytes=1000)
    assert files == [tmp_path / "toy.onnx.data", path]
    assert worst(model, OnnxModel(path), images(2)) < 1e-4
    assert export_onnx(model, images(2), path, dynamic_batch=False) == [path]
    assert list(tmp_path.iterdir()) == [path]


def test_errors_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Nested(depth=1)
    with pytest.raises(ExportError, match=r"model\.eval\(\)"):
        export_onnx(model, images(2), tmp_path / "toy.onnx")
    with pytest.raises(ExportError, match=r"model\.eval\(\)"):
        CompiledModel(model)
    model.eval()
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        export_onnx(model, images(2), tmp_path / "file" / "toy.onnx")
    with pytest.raises(ExportError, match="is a folder"):
        export_onnx(model, images(2), tmp_path)
    with pytest.raises(MissingAssetError, match=r"none\.onnx is not in"):
        OnnxModel(tmp_path / "none.onnx")
    with pytest.raises(ExportError, match="onnxruntime cannot run"):
        OnnxModel(tmp_path / "file")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingDependencyError, match=r"shared_tmu\[onnx\]"):
        export_onnx(model, images(2), tmp_path / "toy.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"shared_tmu\[onnx\]"):
        OnnxModel(tmp_path / "file")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_one_graph_for_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    model = Nested().eval()
    with shared_tmu.patch(model.backbone, "8x2") as handle:
        compiled = CompiledModel(model, backend="eager")
        for count in (3, 1, 6):
            assert worst(model, compiled, images(count)) < 1e-5
        with torch.inference_mode():
            assert worst(model, compiled, images(4)) < 1e-5
        handle.schedule = "4x2"
        assert worst(model, compiled, images(3)) < 1e-5


def test_inductor_gives_the_same() -> None:
    torch._dynamo.reset()
    model = Nested(depth=2).eval()
    with shared_tmu.patch(model.backbone, "8x2"):
        compiled = CompiledModel(model)
        for count in (2, 5):
            assert worst(model, compiled, images(count)) < 1e-5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.symlink_to("/dev/null"), "is a device, which is not replaced"),
        (os.mkfifo, "is a pipe, which is not replaced"),
        (Path.mkdir, "is a folder, which is not replaced"),
        (lambda path: path.symlink_to(path.name), "cannot be written"),
    ],
)
def test_nothing_but_a_file_is_written_over(make: Any, message: str, tmp_path: Path) -> None:
    make(tmp_path / "x.onnx")
    before = (tmp_path / "x.onnx").lstat()
    with pytest.raises(ExportError, match=message):
        output_file(tmp_path / "x.onnx")
    assert (tmp_path / "x.onnx").lstat() == before


@pytest.mark.parametrize("length", [256, 5000, 252])
def test_names_that_are_too_long(length: int, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot be written: File name too long"):
        output_file(tmp_path / ("n" * (length - 5) + ".onnx"))


def test_links_are_written_through(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "x.onnx").symlink_to("there/real.onnx")
    assert output_file(tmp_path / "x.onnx") == tmp_path / "there" / "real.onnx"
