"""What holds for a hand model of any size: crops, cameras, the mean hand, the right side."""

from typing import Any, ClassVar

import pytest
import torch

from shared_tmu.body_models import load_mano, load_mean_params
from shared_tmu.errors import BodyModelError, ConfigError

from .folders import silence
from .hands import HandFolder, mano_standin, run
from .model import ModelSuite


class HandModelSuite(ModelSuite):
    """Hardly anything here depends on which hand model it is."""

    folder: ClassVar[HandFolder]

    def test_the_middle_columns_may_be_cut_beforehand(self) -> None:
        model, img = self.small(), self.inputs()
        assert torch.equal(model.encode(img), model.encode(img[..., 32:96]))

    def test_rotations_stay_rotations_in_half_precision(self) -> None:
        rotmat = run(self.small().to(torch.bfloat16), self.inputs())["hand_pose"]
        assert torch.allclose(rotmat @ rotmat.mT, torch.eye(3).expand_as(rotmat), atol=1e-5)

    def test_key_points_project_into_the_crop(self) -> None:
        """`pred_keypoints_2d` is what the camera of `pred_cam_t` and `focal_length` sees, in crops."""
        out = run(self.small(torch.float64), self.inputs().double())
        camera = out["pred_keypoints_3d"] + out["pred_cam_t"][:, None]
        pixels = out["focal_length"][:, None] * camera[..., :2] / camera[..., 2:]
        assert torch.allclose(pixels / 128, out["pred_keypoints_2d"])

    def test_mean_parameters_are_where_predictions_start(self) -> None:
        mean = load_mean_params()
        model = self.folder.build(self.folder.case_config("small_grid"), load_mano(), mean)
        starts = [module for module in model.modules() if hasattr(module, "init_hand_pose")]
        assert [start.init_hand_pose[0].tolist() for start in starts] == [pytest.approx(mean.pose.tolist())]
        silence(model, "dec_pose", "dec_shape", "dec_cam", "decpose", "decshape", "deccam")
        out = run(model.eval(), self.inputs(1))
        assert out["pred_cam"][0].tolist() == pytest.approx(mean.cam.tolist())
        assert out["betas"][0].tolist() == pytest.approx(mean.shape.tolist())

    def test_without_mean_parameters_the_hand_is_at_rest(self) -> None:
        model = self.folder.build(self.folder.case_config("small_grid"), mano_standin())
        silence(model, "dec_pose", "decpose")
        out = run(model.eval(), self.inputs(1))
        assert torch.equal(out["hand_pose"], torch.eye(3).expand(1, 15, 3, 3))

    def test_a_left_hand_model_is_refused(self) -> None:
        with pytest.raises(BodyModelError, match="right hands, but the body model is a left"):
            self.folder.build(self.folder.case_config("small_grid"), mano_standin().mirrored())

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"image_size": 224}, "does not fit into the middle of a square input of 224"),
            ({"backbone": {"img_size": [256, 191]}}, "the difference of widths even"),
            ({"image_mean": [0.5]}, "image_mean must be a value such as"),
            ({"image_mean": [0.5, 0.5, 0.5]}, r"image_mean is \(0\.5, 0\.5, 0\.5\), but crops and cameras"),
            ({"image_std": [1, 1, 1]}, "image_std is .* crops and cameras always use"),
            ({"focal_length_px": 1200}, r"focal_length_px is 1200\.0, but crops and cameras always use 5000"),
            ({"with_discriminator": "yes"}, "with_discriminator must be a value such as"),
        ],
    )
    def test_impossible_hand_models_are_refused(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            self.folder.config.from_dict(change)
