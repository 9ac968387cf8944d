"""What every folder's demo.py does, on this folder's model; and SMPL-X's parameters."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from folder import FOLDER
from suites.demo import DemoSuite

from shared_tmu.body_models import load_smplx
from shared_tmu.body_models.smplx_layer import SmplxLayer


class TestDemo(DemoSuite):
    folder = FOLDER

    def test_saved_parameters_pose_the_saved_mesh(self, tmp_path: Path, given: dict[str, Any]) -> None:
        assert self.run(given, tmp_path / "o") == 0
        saved = np.load(tmp_path / "o" / "two.npz")
        names = {
            "global_orient": "global_orient_axis_angle", "body_pose": "body_pose_axis_angle",
            "left_hand_pose": "left_hand_pose_axis_angle", "right_hand_pose": "right_hand_pose_axis_angle",
            "jaw_pose": "jaw_pose_axis_angle", "betas": "betas", "expression": "expression",
        }  # fmt: skip
        layer = SmplxLayer(load_smplx())
        posed = layer(**{ours: torch.tensor(saved[theirs]).flatten(1) for ours, theirs in names.items()})
        assert np.abs(posed.vertices.numpy() - saved["vertices_m"]).max() < 1e-4
        assert np.abs(posed.keypoints.numpy() - saved["joints_3d_m"]).max() < 1e-4
        points = (saved["joints_3d_m"] + saved["translation_m"][:, None]) @ saved["camera_matrix"].T
        assert np.abs(points[..., :2] / points[..., 2:] - saved["joints_2d_px"]).max() < 1e-3
        facts = json.loads((tmp_path / "o" / "two.json").read_text())
        assert (facts["model"], len(facts["people"])) == ("SMPLest-X", 2)
        assert facts["fields"]["betas"]["shape"] == "[K, 10]"

    def test_people_are_drawn_where_the_crops_camera_sees_them(
        self, tmp_path: Path, given: dict[str, Any]
    ) -> None:
        """The image's camera puts key points within a pixel or two of the model's own camera."""
        assert self.run(given, tmp_path / "o") == 0
        saved = np.load(tmp_path / "o" / "two.npz")
        for i in range(2):
            x, y, width, height = saved["crop_xywh_px"][i]
            points = saved["joints_3d_m"][i] + saved["crop_translation_m"][i]
            seen = points[:, :2] / points[:, 2:] * 5000 + (96, 128)
            pixels = seen * (width / 192, height / 256) + (x, y)
            assert np.abs(pixels - saved["joints_2d_px"][i]).max() < 2
