"""What models estimate, a hand or a body: everything in which programs for the two differ, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from shared_tmu.body_models import load_mano, load_mean_params, load_smplx
from shared_tmu.programs.subject import Subject
from shared_tmu.runtime.precision import VertexError, vertex_error


@dataclass(frozen=True)
class Estimate(Subject):
    """A mesh that models estimate: of hands or of bodies.

    Args:
        one, many: the name in messages and tables, singular and plural.
        dataset: the evaluation set that is rendered on first use.
        calibration: the set for decisions, rendered on first use too; no picture of it is in `dataset`.
        body_flag: the flag for the body model's file.
        body_file: the usual name of that file.
        bundled: the body model that is used if no file is given.
        body_layer: the attribute of models that holds the body model.
        vertices: function from a model's output to its vertices `[B, V, 3]` in metres.
        joints: function from a model's output to its joints `[B, J, 3]` in metres, independent of the camera.
        load_bodies: loads the bundled body models, the arguments with which a model is built after its
            configuration.
    """

    one: str
    many: str
    dataset: str
    calibration: str
    body_flag: str
    body_file: str
    bundled: str
    body_layer: str
    vertices: Callable[[Mapping[str, Any]], Tensor]
    joints: Callable[[Mapping[str, Any]], Tensor]
    load_bodies: Callable[[], tuple[Any, ...]]

    def dtype_error(self, found: Mapping[str, Any], exact: Mapping[str, Any]) -> VertexError:
        """How far vertices in another number format are from those in float32."""
        return vertex_error(self.vertices(found), self.vertices(exact))

    def faces(self, model: nn.Module) -> NDArray[np.int64]:
        """Triangles of the mesh, `[F, 3]`."""
        return np.asarray(getattr(model, self.body_layer).faces).astype(np.int64)


def hand_vertices(output: Mapping[str, Any]) -> Tensor:
    """Vertices `[B, 778, 3]` in metres of a hand model's output."""
    vertices: Tensor = output["pred_vertices"]
    return vertices


def body_vertices(output: Mapping[str, Any]) -> Tensor:
    """Vertices `[B, 10475, 3]` in metres of a body model's output, before its translation."""
    vertices: Tensor = output["smplx_mesh_cam"] - output["cam_trans"].unsqueeze(1)
    return vertices


HAND = Estimate(
    name="hand",
    one="hand",
    many="hands",
    dataset="synthhand",
    calibration="synthhand-calib",
    body_flag="--mano_path",
    body_file="MANO_RIGHT.pkl",
    bundled="the bundled hand",
    backbone="backbone",
    body_layer="mano",
    size="image_size",
    is_normalised=True,
    vertices=hand_vertices,
    joints=lambda output: output["pred_keypoints_3d"],
    load_bodies=lambda: (load_mano(), load_mean_params()),
)
BODY = Estimate(
    name="body",
    one="person",
    many="people",
    dataset="synthbody",
    calibration="synthbody-calib",
    body_flag="--smplx_path",
    body_file="SMPLX_NEUTRAL.npz",
    bundled="the bundled person",
    backbone="encoder",
    body_layer="smplx_layer",
    size="encoder.img_size",
    is_normalised=False,
    vertices=body_vertices,
    joints=lambda output: output["smplx_joint_cam"],
    load_bodies=lambda: (load_smplx(),),
)
