"""Saving models and loading them again: number formats, and which body model they come back with."""

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from shared_tmu.errors import CheckpointError, InputError
from shared_tmu.files.checkpoints import read_checkpoint

from .folders import ModelFolder


class SavingSuite:
    """`save_...` of a folder, and what `load_...` makes of its files."""

    folder: ClassVar[ModelFolder]

    @pytest.fixture(scope="class")
    @classmethod
    def body_path(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """The body model of the recorded cases."""
        return cls.folder.write_body(tmp_path_factory.mktemp("body"))

    def write_small(self, folder: Path, weights: dict[str, Tensor] | None = None, **extra: Any) -> Path:
        """The case `small_grid` as published."""
        return self.folder.write_published(folder, weights or self.folder.weights("small_grid"), **extra)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
    def test_saving_and_loading_our_own(self, tmp_path: Path, body_path: Path, dtype: torch.dtype) -> None:
        model = self.folder.case_model("small_grid")
        self.folder.save(model, tmp_path / "mine.safetensors", dtype)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.safetensors", "mine.yaml"]
        stored = read_checkpoint(tmp_path / "mine.safetensors")
        assert {value.dtype for value in stored.values() if value.is_floating_point()} == {dtype}
        assert not [key for key in stored if key.startswith(self.folder.BODY)]
        again = self.folder.load(tmp_path / "mine.safetensors", body_path)
        assert next(again.parameters()).dtype == torch.float32
        img = {"img": self.folder.tensors("small_grid.inputs0")["img"]}
        with torch.no_grad():
            found, wanted = again(img)[self.folder.vertices], model(img)[self.folder.vertices]
        moved = (found - wanted).abs() / (1 + wanted.abs())
        half = max(1e-2, self.folder.HALF[torch.float16])
        assert moved.max() < (half if dtype == torch.float16 else 1e-5)

    def test_dtype_of_the_loaded_model(self, tmp_path: Path) -> None:
        path = self.write_small(tmp_path)
        for dtype, body in ((torch.float16, torch.float32), (torch.float64, torch.float64)):
            model = self.folder.load(path, dtype=dtype)
            assert self.folder.vit(model).pos_embed.dtype == dtype
            assert model.state_dict()[f"{self.folder.BODY}v_template"].dtype == body

    def test_a_dtype_by_its_name(self, tmp_path: Path) -> None:
        path = self.write_small(tmp_path)
        model = self.folder.load(path, dtype="bfloat16")
        assert self.folder.vit(model).pos_embed.dtype == torch.bfloat16
        self.folder.save(model, tmp_path / "mine.safetensors", "float32")
        for dtype, named in (("cuda", "'cuda'"), (torch.int8, r"torch\.int8")):
            wrong = f"weights cannot be of dtype {named}: use one of float32, bfloat16, float16, float64"
            with pytest.raises(InputError, match=wrong):
                self.folder.load(path, dtype=dtype)
            with pytest.raises(InputError, match=wrong):
                self.folder.save(model, tmp_path / "other.safetensors", dtype)

    def test_float16_does_not_become_infinite(self, tmp_path: Path) -> None:
        weights = self.folder.weights("small_grid")
        name = next(name for name in weights if name.endswith("blocks.0.norm1.weight"))
        path = self.write_small(tmp_path, {**weights, name: 1e5 * torch.ones_like(weights[name])})
        with pytest.raises(CheckpointError, match=r"1 weights are not finite, such as .*norm1\.weight"):
            self.folder.save(self.folder.load(path), tmp_path / "half.safetensors")
        assert not (tmp_path / "half.safetensors").exists()
        with pytest.raises(CheckpointError, match="float16 ends at 65,504"):
            self.folder.load(path, dtype=torch.float16)

    @pytest.mark.parametrize("value", [float("nan"), float("-inf")])
    def test_weights_that_are_no_numbers_are_refused(self, tmp_path: Path, value: float) -> None:
        weights = self.folder.weights("small_grid")
        name = next(name for name in weights if name.endswith("blocks.0.norm1.weight"))
        weights[name].view(-1)[1] = value
        path = self.write_small(tmp_path, weights)
        for dtype in (torch.float32, torch.bfloat16):
            with pytest.raises(CheckpointError, match=r"1 weights are not finite, such as .*weight\.$"):
                self.folder.load(path, dtype=dtype)

    def test_a_saved_model_without_its_own_body_is_said(
        self, tmp_path: Path, body_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        model, path = self.folder.case_model("small_grid"), tmp_path / "mine.safetensors"
        self.folder.save(torch.compile(model.double()), path)
        self.folder.load(path, body_path)
        assert caplog.text == ""
        self.folder.load(path)
        bundled = f"{self.folder.BUNDLED_BODY}, bundled"
        assert f"{path} was saved from a model with another body model than {bundled}" in caplog.text
        caplog.clear()
        body = self.folder.bundled_body()
        larger = replace(body, v_template=np.float32(1.1) * body.v_template)
        np.savez(tmp_path / "larger.npz", **larger.to_dict())
        self.folder.save(self.folder.load(path), path)
        caplog.clear()
        self.folder.load(path)
        assert caplog.text == ""
        self.folder.load(path, tmp_path / "larger.npz")
        assert f"another body model than {tmp_path / 'larger.npz'}" in caplog.text
