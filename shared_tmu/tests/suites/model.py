"""What holds for a hand model of any size: precisions, training, copies, sizes and errors."""

import copy
import pickle
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from shared_tmu.body_models import load_mano, load_mean_params
from shared_tmu.errors import BodyModelError, ConfigError, InputError

from .hands import HandFolder, mano_standin, run


class ModelSuite:
    """Hardly anything here depends on which model it is."""

    hands: ClassVar[HandFolder]

    def small(self, dtype: torch.dtype = torch.float32) -> Any:
        return self.hands.case_model("small_grid", dtype)

    def inputs(self, index: int = 0) -> torch.Tensor:
        return self.hands.tensors(f"small_grid.inputs{index}")["img"]

    @pytest.mark.parametrize(
        ("dtype", "out", "tolerance_m"),
        [
            (torch.float16, torch.float32, 3e-3),
            (torch.bfloat16, torch.float32, 1.5e-2),
            (torch.float64, torch.float64, 1e-6),
        ],
        ids=str,
    )
    def test_precisions_without_autocast(
        self, dtype: torch.dtype, out: torch.dtype, tolerance_m: float
    ) -> None:
        wanted = run(self.small(), self.inputs())
        found = run(self.small().to(dtype), self.inputs())  # the images may stay float32
        assert found["features"].dtype == dtype
        assert found["pred_vertices"].dtype == found["pred_cam_t"].dtype == out
        assert (found["pred_vertices"] - wanted["pred_vertices"]).abs().max() < tolerance_m
        rotmat = found["hand_pose"]
        assert torch.allclose(rotmat @ rotmat.mT, torch.eye(3, dtype=out).expand_as(rotmat), atol=1e-5)

    def test_autocast(self) -> None:
        wanted = run(self.small(), self.inputs())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = run(self.small(), self.inputs())
        assert found["pred_vertices"].dtype == torch.float32
        assert (found["pred_vertices"] - wanted["pred_vertices"]).abs().max() < 1.5e-2

    @pytest.mark.parametrize(
        ("image_size", "columns", "depth", "heads"),
        [(32, 32, 1, 1), (64, 48, 2, 3), (96, 32, 1, 2), (256, 192, 32, 4)],
    )
    def test_any_size(self, image_size: int, columns: int, depth: int, heads: int) -> None:
        config = self.hands.sized(24, image_size, columns, depth, heads)
        model = self.hands.build(config, mano_standin()).eval()
        out: dict[str, Any] = dict(model({"img": torch.randn(2, 3, image_size, image_size)}))
        assert out["pred_vertices"].shape == (2, 778, 3)
        assert out["pred_keypoints_2d"].shape == (2, 21, 2)
        rows, across = config.backbone.grid
        assert (rows, across) == (image_size // 16, columns // 16)
        tokens = model.encode(torch.randn(1, 3, image_size, image_size))
        assert tokens.shape == (1, self.hands.prefix + rows * across, 24)

    def test_the_middle_columns_may_be_cut_beforehand(self) -> None:
        model, img = self.small(), self.inputs()
        assert torch.equal(model.encode(img), model.encode(img[..., 32:96]))

    def test_key_points_project_into_the_crop(self) -> None:
        """`pred_keypoints_2d` is what the camera of `pred_cam_t` and `focal_length` sees, in crops."""
        out = run(self.small(torch.float64), self.inputs().double())
        camera = out["pred_keypoints_3d"] + out["pred_cam_t"][:, None]
        pixels = out["focal_length"][:, None] * camera[..., :2] / camera[..., 2:]
        assert torch.allclose(pixels / 128, out["pred_keypoints_2d"])

    def test_training_reaches_every_weight(self) -> None:
        model = self.small().train()
        for block in model.backbone.blocks:
            block.drop_path = nn.Identity()
        out = model({"img": self.inputs()})
        (out["pred_vertices"].square().sum() + out["pred_cam"].square().sum()).backward()
        without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert [name for name in without if not any(part in name for part in self.hands.unused)] == []

    def test_recomputing_blocks_gives_the_same_gradients(self) -> None:
        gradients = []
        for use_checkpoint in (False, True):
            model = self.small(torch.float64).train()
            for block in model.backbone.blocks:
                block.drop_path = nn.Identity()
            model.backbone.use_checkpoint = use_checkpoint
            model({"img": self.inputs().double()})["pred_vertices"].square().sum().backward()
            gradients.append([p.grad for p in model.backbone.parameters()])
        assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(*gradients, strict=True))

    def test_modes_can_be_chained_and_models_copied(self) -> None:
        model, img = self.small(), self.inputs(1)
        assert model.backbone.train().eval() is model.backbone
        wanted = run(model, img)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert all(torch.equal(value, wanted[key]) for key, value in run(other, img).items())

    def test_the_backbone_compiles_as_one_graph(self) -> None:
        model, img = self.small(), self.inputs(1)
        model.backbone.blocks = model.backbone.blocks[:1]
        compiled = torch.compile(model.encode, fullgraph=True, backend="eager")
        assert torch.equal(compiled(img), model.encode(img))

    def test_mean_parameters_are_where_predictions_start(self) -> None:
        mean = load_mean_params()
        model = self.hands.build(self.hands.case_config("small_grid"), load_mano(), mean)
        starts = [module for module in model.modules() if hasattr(module, "init_hand_pose")]
        assert [start.init_hand_pose[0].tolist() for start in starts] == [pytest.approx(mean.pose.tolist())]
        _silence(model, "dec_pose", "dec_shape", "dec_cam", "decpose", "decshape", "deccam")
        out = run(model.eval(), self.inputs(1))
        assert out["pred_cam"][0].tolist() == pytest.approx(mean.cam.tolist())
        assert out["betas"][0].tolist() == pytest.approx(mean.shape.tolist())

    def test_without_mean_parameters_the_hand_is_at_rest(self) -> None:
        model = self.hands.build(self.hands.case_config("small_grid"), mano_standin())
        _silence(model, "dec_pose", "decpose")
        out = run(model.eval(), self.inputs(1))
        assert torch.equal(out["hand_pose"], torch.eye(3).expand(1, 15, 3, 3))

    def test_a_left_hand_model_is_refused(self) -> None:
        with pytest.raises(BodyModelError, match="right hands, found a left"):
            self.hands.build(self.hands.case_config("small_grid"), mano_standin().mirrored())

    @pytest.mark.parametrize("shape", [(1, 3, 256, 256), (1, 1, 128, 128), (3, 128, 128), (1, 3, 128, 96)])
    def test_other_images_are_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match=rf"{self.hands.name} takes images \[B, 3, 128, 128\], found"):
            self.small()({"img": torch.zeros(shape)})

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"backbone": {"num_heads": 7}}, "1280 does not split into 7 heads"),
            ({"backbone": {"depth": 0}}, "at least one block"),
            ({"backbone": {"drop_path_rate": 1.0}}, r"drop_path_rate must be in \[0, 1\)"),
            ({"image_size": 224}, "does not fit the middle of a 224 px"),
            ({"backbone": {"img_size": [256, 191]}}, "the difference in width even"),
            ({"backbone": {"dpeth": 3}}, r"has no \['dpeth'\]; it has"),
            ({"backbone": {"depth": "deep"}}, "depth should be like 32, found 'deep'"),
            ({"backbone": {"depth": 1.5}}, "depth should be like 32, found 1.5"),
            ({"backbone": 3}, "backbone should be like"),
            ({"image_mean": [0.5]}, "image_mean should be like"),
            ({"with_discriminator": "yes"}, "with_discriminator should be like"),
            ({"model": "vitpose"}, "describes a 'vitpose'"),
        ],
    )
    def test_impossible_configurations_are_refused(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            self.hands.config.from_dict(change)


@torch.no_grad()
def _silence(model: nn.Module, *names: str) -> None:
    """Zero weights, and zero biases, of the layers of these names."""
    for name, parameter in model.named_parameters():
        if name.split(".")[-2] in names:
            parameter.zero_()
