"""A folder's `export.py`, and the whole model as one graph: the same numbers from onnxruntime."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from shared_tmu.export import CompiledModel, OnnxModel, program
from shared_tmu.export.outputs import flatten_output
from shared_tmu.masks import ProbeFacts, TokenProbe, weights_before
from shared_tmu.method_parts.protection import WEIGHT
from shared_tmu.method_parts.read_masks import Weighed
from shared_tmu.programs.mask_flags import probe_beside

from .folders import ModelFolder

HEIGHT, COLUMNS = 64, 48


class ExportSuite:
    """Merging, head and body model are part of the file."""

    folder: ClassVar[ModelFolder]

    def model(self) -> Any:
        """Two blocks on 4 x 3 patches."""
        torch.manual_seed(0)
        config = self.folder.sized(16, HEIGHT, COLUMNS, depth=2)
        return self.folder.build(config, self.folder.bundled_body()).eval()

    def images(self, count: int) -> dict[str, Tensor]:
        return {"img": self.folder.images(count, HEIGHT, COLUMNS)}

    @staticmethod
    def assert_same(found: Any, wanted: Any, tolerance: float) -> None:
        ours, theirs = flatten_output(found), flatten_output(wanted)
        assert set(ours) == set(theirs) - {"img"}  # what is handed through is left out
        for name, value in ours.items():
            torch.testing.assert_close(value, theirs[name], rtol=tolerance, atol=tolerance, msg=name)

    def test_the_whole_model_is_one_graph(self) -> None:
        torch._dynamo.reset()
        model = self.model()
        with self.folder.tmu.patch(model, "2x2"), torch.no_grad():
            compiled = CompiledModel(model, backend="eager")
            for count in (2, 4):
                found = {k: v for k, v in compiled(self.images(count)).items() if k != "img"}
                self.assert_same(found, model(self.images(count)), 1e-5)
            assert len(model(self.images(0))[self.folder.vertices]) == 0

    def test_onnxruntime_gives_the_same(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """By the command, for any number of images."""
        model, path = self.model(), tmp_path / "made" / "model.onnx"
        self.folder.save(model, tmp_path / "small.safetensors", torch.float32)
        flags = ("--r", "2x2", "--out", path, "--checkpoint", tmp_path / "small.safetensors")
        with caplog.at_level("INFO", logger="shared_tmu"):
            assert self.folder.module("export").run([str(flag) for flag in flags]) == 0
        assert "difference from PyTorch" in caplog.text
        exported = OnnxModel(path)
        assert (exported.metadata["schedule"], exported.metadata["model"]) == ("2x2", self.folder.name)
        assert exported.metadata["mask"] == "none"  # these weights have no probe
        with self.folder.tmu.patch(model, "2x2"), torch.no_grad():
            for count in (1, 5):
                self.assert_same(exported(self.images(count)), model(self.images(count)), 1e-4)

    def test_the_probe_beside_the_weights_is_the_default_mask(self, tmp_path: Path) -> None:
        """As in the demo; the file says which mask it has."""
        model, path, checkpoint = self.model(), tmp_path / "model.onnx", tmp_path / "small.safetensors"
        self.folder.save(model, checkpoint, torch.float32)
        vit = self.folder.vit(model)
        probe = TokenProbe(torch.randn(vit.blocks[0].norm1.weight.shape[0]), torch.tensor(0.0))
        probe.save(probe_beside(checkpoint), ProbeFacts("Toy", weights_before(vit, 0), {}))
        given = ("--r", "4x1", "--out", path, "--checkpoint", checkpoint)
        assert self.folder.module("export").run([str(flag) for flag in given]) == 0
        exported, images = OnnxModel(path), self.images(3)
        assert exported.metadata["mask"] == "probe"
        found = exported(images)[self.folder.vertices]
        differences = []
        for other in (Weighed(probe, WEIGHT), None):
            with self.folder.tmu.patch(model, "4x1", mask=other), torch.no_grad():
                differences.append(float((found - model(images)[self.folder.vertices]).abs().max()))
        assert 10 * differences[0] < differences[1]

    def test_masks_that_a_file_cannot_have(self, tmp_path: Path, caplog: Any) -> None:
        paths = ("--out", str(tmp_path / "a.onnx"), "--checkpoint", str(tmp_path / "small.safetensors"))
        for flags, message in (
            (("--mask", "box+probe"), "is drawn over each picture"),
            (("--mask", "sky"), "there is no mask 'sky'"),
            (("--mask", "probe"), "does not exist"),
            (("--mask", "attention", "--r", "off"), "--r is off"),
            (("--probe", "none.safetensors", "--mask", "none"), "no mask reads it"),
            (("--background", "first", "--mask", "none"), "no mask uses it"),
        ):
            caplog.clear()
            assert self.folder.module("export").run(["--r", "2x2", *paths, *flags]) == 1
            assert message in caplog.text

    def test_no_file_of_the_model_is_written_over(self, tmp_path: Path, caplog: Any) -> None:
        checkpoint, config = tmp_path / "small.safetensors", tmp_path / "small.yaml"
        self.folder.save(self.model(), checkpoint)
        other = tmp_path / "linked.onnx"
        other.symlink_to(checkpoint)
        before = checkpoint.read_bytes(), config.read_bytes()
        for out in (checkpoint, config, other):
            caplog.clear()
            flags = ("--r", "2x2", "--out", out, "--checkpoint", checkpoint)
            assert self.folder.module("export").run([str(flag) for flag in flags]) == 1
            assert "which belongs to the model that is read" in caplog.text
            assert (checkpoint.read_bytes(), config.read_bytes()) == before

    def test_what_fails_its_check_replaces_nothing(
        self, tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.folder.save(self.model(), tmp_path / "small.safetensors")
        out = tmp_path / "good.onnx"
        out.write_bytes(b"good")
        monkeypatch.setattr(program, "compare", lambda *_: {"vertices": float("nan")})
        flags = ("--r", "2x2", "--out", out, "--checkpoint", tmp_path / "small.safetensors")
        assert self.folder.module("export").run([str(flag) for flag in flags]) == 1
        assert "good.onnx was not written: in onnxruntime these outputs are not finite" in caplog.text
        assert out.read_bytes() == b"good"
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "good.onnx", "small.safetensors", "small.yaml",
        ]  # fmt: skip

    def test_what_cannot_be_exported_says_so(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.folder.save(self.model(), tmp_path / "small.safetensors")

        def run(r: str, out: str, checkpoint: str = "small.safetensors") -> int:
            flags = ("--r", r, "--out", tmp_path / out, "--checkpoint", tmp_path / checkpoint)
            return self.folder.module("export").run([str(flag) for flag in flags])

        assert run("8y4", "a.onnx") == 1
        assert "ScheduleError: cannot read '8y4'" in caplog.text
        assert run("5x40", "a.onnx") == 1
        assert "names 40 layers, this trunk has 2" in caplog.text
        assert run("2x2", "a.onnx", "none.safetensors") == 1
        assert "MissingAssetError: checkpoint none.safetensors" in caplog.text
        (tmp_path / "file").write_text("")
        assert run("2x2", "file/a.onnx") == 1
        assert "cannot be written" in caplog.text
        assert run("2x2", "model") == 1
        assert "is not named as an ONNX file: name it .onnx" in caplog.text
        assert not list(tmp_path.rglob("*.onnx"))
