"""Hands as motions, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shared_tmu.pictures.geometry import full_camera_to_crop
from shared_tmu.programs.hand_records import translation_of
from shared_tmu.programs.tables import ImageCamera
from shared_tmu.temporal.smoothing.motion import Motion, from_place, to_place

if TYPE_CHECKING:
    from shared_tmu.demo.predict import Arrays

SIZE_M = 0.2
"""Usual length of a hand."""


@dataclass(frozen=True)
class HandMotions:
    """Converts what HaMeR and WiLoR predict.

    Attributes:
        layer: their MANO layer.
    """

    layer: Any

    def read(self, output: Arrays, box: Any, crop: Any, camera: ImageCamera) -> Motion | None:
        """The motion of a hand; rotations and shape are those of the right hand that the model saw. None for
        a hand behind the camera."""
        from scipy.spatial.transform import Rotation

        rotmats = np.concatenate((output["global_orient"], output["hand_pose"])).astype(np.float64)
        place_m = translation_of(output, box, crop, camera)
        if place_m[2] <= 0:
            return None
        betas = output["betas"].astype(np.float64)
        return Motion(Rotation.from_matrix(rotmats), betas, to_place(place_m), SIZE_M / place_m[2])

    def write(
        self,
        outputs: Sequence[Arrays],
        motions: Sequence[Motion],
        boxes: Sequence[Any],
        crops: Sequence[Any],
        camera: ImageCamera,
    ) -> list[Arrays]:
        """The same hands with other motions; meshes and joints are those of the new parameters."""
        like = self.layer.v_template
        rotmats = torch.tensor(np.stack([one.rotations.as_matrix() for one in motions])).to(like)
        betas = torch.tensor(np.stack([one.shape for one in motions])).to(like)
        with torch.inference_mode():
            made = self.layer(rotmats[:, :1], rotmats[:, 1:], betas)
        new = {"pred_vertices": made.vertices, "pred_keypoints_3d": made.keypoints, "betas": betas}
        new |= {"global_orient": rotmats[:, :1], "hand_pose": rotmats[:, 1:]}
        arrays = {name: values.float().cpu().numpy() for name, values in new.items()}
        cameras = (
            _crop_camera(motion, box, crop, camera)
            for motion, box, crop in zip(motions, boxes, crops, strict=True)
        )
        return [
            {**output, **{name: values[row] for name, values in arrays.items()}, "pred_cam": weak}
            for row, (output, weak) in enumerate(zip(outputs, cameras, strict=True))
        ]


def _crop_camera(motion: Motion, box: Any, crop: Any, camera: ImageCamera) -> Any:
    """The camera (s, tx, ty) of a crop in which a hand is at its place."""
    weak = full_camera_to_crop(
        torch.tensor(from_place(motion.place)[None]),
        torch.tensor(np.asarray(crop.box_center, np.float64)[None]),
        torch.tensor([crop.box_size], dtype=torch.float64),
        torch.tensor([[camera.width, camera.height]], dtype=torch.float64),
        camera.focal_px,
    )[0].numpy()
    return (weak * (1.0, 1.0 if box.is_right else -1.0, 1.0)).astype(np.float32)
