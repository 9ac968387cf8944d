"""What only the hand folders' `demo.py` does: sides, and MANO's parameters."""

import json
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import torch

from shared_tmu.body_models.mano import load_mano
from shared_tmu.body_models.mano_layer import ManoLayer

from .demo import BOXES, SIZE, DemoSuite
from .hands import HandFolder


class HandDemoSuite(DemoSuite):
    """What a user sees, of left and right hands."""

    folder: ClassVar[HandFolder]

    def test_saved_parameters_pose_the_saved_mesh_on_both_hands(
        self, tmp_path: Path, given: dict[str, Any]
    ) -> None:
        assert self.run(given, tmp_path) == 0
        saved = np.load(tmp_path / "two.npz")
        assert saved["is_right"].tolist() == [False, True]
        for index, side in enumerate(("left", "right")):
            layer = ManoLayer(load_mano(side=side))
            posed = layer(
                torch.tensor(saved["global_orient_rotmat"][index : index + 1, None]),
                torch.tensor(saved["hand_pose_rotmat"][index : index + 1]),
                torch.tensor(saved["betas"][index : index + 1]),
            )
            assert np.abs(posed.vertices[0].numpy() - saved["vertices_m"][index]).max() < 1e-5
            assert np.abs(posed.keypoints[0].numpy() - saved["joints_3d_m"][index]).max() < 1e-5
            assert np.array_equal(np.asarray(layer.faces), saved[f"faces_{side}"])
        points = (saved["joints_3d_m"] + saved["translation_m"][:, None]) @ saved["camera_matrix"].T
        assert np.abs(points[..., :2] / points[..., 2:] - saved["joints_2d_px"]).max() < 1e-3
        facts = json.loads((tmp_path / "two.json").read_text())
        assert (facts["model"], facts["schedule"]) == (self.folder.name, "5x4")

    def test_a_mirrored_photograph_gives_mirrored_results(
        self, tmp_path: Path, given: dict[str, Any]
    ) -> None:
        mirrored, flipped = tmp_path / "mirrored", {}
        mirrored.mkdir()
        for name, entries in BOXES.items():
            cv2.imwrite(str(mirrored / name), cv2.imread(str(given["--img_folder"] / name))[:, ::-1])
            flipped[name] = []
            for entry in entries:
                x1, y1, x2, y2 = entry["box_xyxy"]
                box = [SIZE[0] - 1 - x2, y1, SIZE[0] - 1 - x1, y2]
                flipped[name].append({"box_xyxy": box, "is_right": not entry["is_right"]})
        flipped_boxes = tmp_path / "flipped.json"
        flipped_boxes.write_text(json.dumps(flipped))
        assert self.run(given, tmp_path / "a") == 0
        assert self.run(given | {"--img_folder": mirrored, "--boxes": flipped_boxes}, tmp_path / "b") == 0
        for key in ("one", "two", "three"):
            a, b = np.load(tmp_path / "a" / f"{key}.npz"), np.load(tmp_path / "b" / f"{key}.npz")
            assert np.array_equal(a["is_right"], ~b["is_right"])
            assert np.array_equal(a["vertices_m"], b["vertices_m"] * np.float32([-1, 1, 1]))
            axis_angle = "global_orient_axis_angle"
            assert np.allclose(a[axis_angle], b[axis_angle] * [1, -1, -1], atol=1e-6)
            assert np.allclose(a["joints_2d_px"], b["joints_2d_px"] * [-1, 1] + [SIZE[0] - 1, 0], atol=0.02)
