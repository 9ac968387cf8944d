"""What holds for a model of any size: precisions, training, copies, sizes and errors."""

import copy
import pickle
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from shared_tmu.errors import ConfigError, InputError

from .folders import ModelFolder


class ModelSuite:
    """Hardly anything here depends on which model it is."""

    folder: ClassVar[ModelFolder]

    def small(self, dtype: torch.dtype = torch.float32) -> Any:
        return self.folder.case_model("small_grid", dtype)

    def inputs(self, index: int = 0) -> Tensor:
        return self.folder.tensors(f"small_grid.inputs{index}")["img"]

    def without_drops(self, dtype: torch.dtype = torch.float32) -> Any:
        """The small model in training mode, every block always there."""
        model = self.small(dtype).train()
        for block in self.folder.vit(model).blocks:
            block.drop_path = nn.Identity()
        return model

    def vertices(self, model: Any, img: Tensor) -> Tensor:
        with torch.no_grad():
            return model({"img": img})[self.folder.vertices]

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
    def test_precisions_without_autocast(self, dtype: torch.dtype) -> None:
        other, img = self.small().to(dtype), self.inputs()  # the images may stay float32
        assert other.encode(img).dtype == dtype
        found = self.vertices(other, img)
        assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        self.assert_near(found, img, self.folder.HALF.get(dtype, 5e-5))

    def test_autocast(self) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = self.vertices(self.small(), self.inputs())
        assert found.dtype == torch.float32
        self.assert_near(found, self.inputs(), self.folder.HALF[torch.bfloat16])

    def assert_near(self, found: Tensor, img: Tensor, tolerance: float) -> None:
        """Vertices are those in float32, nearly."""
        wanted = self.vertices(self.small(), img)
        assert ((found - wanted).abs() / (1 + wanted.abs())).max() < tolerance

    @pytest.mark.parametrize(
        ("height", "columns", "depth", "heads"),
        [(32, 32, 1, 1), (64, 48, 2, 3), (96, 32, 1, 2), (256, 192, 32, 4)],
    )
    def test_any_size(self, height: int, columns: int, depth: int, heads: int) -> None:
        config = self.folder.sized(24, height, columns, depth, heads)
        model = self.folder.build(config, self.folder.standin()).eval()
        with torch.no_grad():
            out = model({"img": self.folder.images(2, height, columns)})
            tokens = model.encode(self.folder.images(1, height, columns))
        for name, shape in self.folder.SHAPES.items():
            assert out[name].shape == (2, *shape), name
        rows, across = self.folder.vit(config).grid
        assert (rows, across) == (height // 16, columns // 16)
        assert tokens.shape == (1, self.folder.prefix + rows * across, 24)

    def test_training_reaches_every_weight(self) -> None:
        model = self.without_drops()
        out = tree_flatten(model({"img": self.inputs()}))[0]
        sum(value.square().mean() for value in out).backward()
        without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert [name for name in without if not any(part in name for part in self.folder.unused)] == []
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())

    def test_recomputing_blocks_gives_the_same_gradients(self) -> None:
        gradients = []
        for use_checkpoint in (False, True):
            model = self.without_drops(torch.float64)
            self.folder.vit(model).use_checkpoint = use_checkpoint
            model({"img": self.inputs().double()})[self.folder.vertices].square().sum().backward()
            gradients.append([p.grad for p in self.folder.vit(model).parameters()])
        assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(*gradients, strict=True))

    def test_modes_can_be_chained_and_models_copied(self) -> None:
        model, img = self.small(), self.inputs(1)
        vit = self.folder.vit(model)
        assert vit.train().eval() is vit
        wanted = self.folder.run(model, img)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            found = self.folder.run(other, img)
            assert all(torch.equal(value, wanted[key]) for key, value in found.items())

    def test_the_vit_compiles_as_one_graph(self) -> None:
        model, img = self.small(), self.inputs(1)
        vit = self.folder.vit(model)
        vit.blocks = vit.blocks[:1]
        compiled = torch.compile(model.encode, fullgraph=True, backend="eager")
        assert torch.equal(compiled(img), model.encode(img))

    @pytest.mark.parametrize("shape", [(1, 1, 128, 128), (3, 128, 128), (1, 3, 96, 128), (1, 3, 7, 7)])
    def test_other_images_are_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match=rf"{self.folder.name} expects images \[B, 3, .*\], found"):
            self.small()({"img": torch.zeros(shape)})

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int64], ids=str)
    def test_images_of_whole_numbers_are_refused(self, dtype: torch.dtype) -> None:
        found = rf"{self.folder.name} expects .* as floating-point numbers, found u?int"
        with pytest.raises(InputError, match=found):
            self.small()({"img": (255 * self.inputs()).to(dtype)})

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"num_heads": 7}, "1280 cannot be divided into 7 heads"),
            ({"depth": 0}, "depth must be from 1 to 256, found 0"),
            ({"drop_path_rate": 1.0}, r"drop_path_rate must be in \[0, 1\)"),
            ({"dpeth": 3}, r"has no field \['dpeth'\]; its fields"),
            ({"depth": "deep"}, "depth must be a value such as 32, found 'deep'"),
            ({"depth": 1.5}, "depth must be a value such as 32, found 1.5"),
            (3, "must be a mapping"),
            ({"depth": 1_000_000_000}, "depth must be from 1 to 256, found 1000000000"),
            ({"depth": True}, "depth must be a value such as 32, found True"),
            ({"embed_dim": "9" * 4000}, "embed_dim must be a value such as 1280, found '999"),
            ({"embed_dim": 10**400}, "embed_dim must be a value such as 1280, found a number of 1329 bits"),
            ({"patch_padding": -1}, "patch_padding must be from 0 to 16"),
            ({"img_size": [256, float("inf")]}, r"img_size must be a value such as \(256, 192\)"),
            ({"img_size": "ab"}, r"img_size must be a value such as \(256, 192\), found 'ab'"),
            ({"img_size": [16384, 16384]}, "patches .* must be from 1 to 65536"),
            ({"mlp_ratio": float("nan")}, "mlp_ratio must be a value such as 4.0, found nan"),
            ({"mlp_ratio": float("inf")}, "mlp_ratio must be a value such as 4.0, found inf"),
            ({"mlp_ratio": -4.0}, "mlp_ratio must be from 0.00078125 to 64, found -4.0"),
            ({"mlp_ratio": 0}, "mlp_ratio must be from"),
            ({"mlp_ratio": 1e300}, "mlp_ratio must be a value such as 4.0, found 1e"),
            ({5: 3}, r"has no field \[5\]"),
        ],
    )
    def test_impossible_vits_are_refused(self, change: Any, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            self.folder.config.from_dict({self.folder.PART: change})

    def test_unknown_fields_are_named(self) -> None:
        with pytest.raises(ConfigError, match=r"has no field \['depht'\]"):
            self.folder.config.from_dict({"depht": 3})
