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

    def test_crops_grow_as_the_configuration_says(self, tmp_path: Path, given: dict[str, Any]) -> None:
        """`bbox_ratio` of the checkpoint's configuration, unless --rescale_factor says otherwise."""
        text = Path(given["--checkpoint"]).with_suffix(".yaml").read_text(encoding="utf-8")
        assert "bbox_ratio: 1.2\n" in text
        (tmp_path / "wide.yaml").write_text(text.replace("bbox_ratio: 1.2\n", "bbox_ratio: 1.5\n"))
        wide = {**given, "--config": tmp_path / "wide.yaml"}
        sizes = []
        for name, flags in (("a", given), ("b", wide), ("c", {**wide, "--rescale_factor": 1.2})):
            assert self.run(flags, tmp_path / name) == 0
            sizes.append(np.load(tmp_path / name / "two.npz")["crop_xywh_px"][:, 2:])
        assert np.allclose(sizes[1], sizes[0] * 1.5 / 1.2, rtol=1e-5)
        assert np.array_equal(sizes[2], sizes[0])
        assert json.loads((tmp_path / "b" / "two.json").read_text())["rescale_factor"] == 1.5

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
