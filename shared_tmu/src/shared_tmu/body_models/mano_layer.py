"""The MANO layer of HaMeR and WiLoR: rotation matrices in, vertices and 21 key points out."""

from typing import NamedTuple

import torch
from torch import Tensor

from shared_tmu.body_models.kept_wide import KeptWide, Struct, smplx
from shared_tmu.body_models.mano import FINGERTIPS, NUM_BETAS, OPENPOSE_JOINTS, PARENTS, ManoModel
from shared_tmu.body_models.skinning import skin_vertices


class ManoOutput(NamedTuple):
    """Vertices `[B, 778, 3]` and key points `[B, 21, 3]` in OpenPose order, metres."""

    vertices: Tensor
    keypoints: Tensor


class ManoLayer(KeptWide, smplx.MANOLayer):  # type: ignore[misc]
    """smplx's MANO layer on arrays in memory, with fingertips appended and joints in OpenPose order.

    smplx provides buffers and names; skinning is `skinning.skin_vertices`, equal to smplx's within 1e-6 m,
    because smplx's own follows the kinematic tree through values of an array, which torch.compile and
    exporters cannot handle. No mean pose is added: identity rotations give the template. State-dict keys and
    shapes are those in published checkpoints under `mano.`. The layer keeps at least float32 when the model
    around it is converted to half precision, and ignores autocast: a chain of half-precision bone transforms
    would cause errors of millimetres.
    """

    SHAPE_SPACE_DIM = NUM_BETAS  # the number in the file; smplx prints a warning if it expects more
    joint_map: Tensor
    extra_joints_idxs: Tensor

    def __init__(self, mano: ManoModel, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(
            model_path="",
            data_struct=Struct(**mano.to_dict()),
            is_rhand=mano.side == "right",
            num_betas=NUM_BETAS,
            create_body_pose=False,
            dtype=dtype,
        )
        self.register_buffer("extra_joints_idxs", torch.tensor(FINGERTIPS))
        self.register_buffer("joint_map", torch.tensor(OPENPOSE_JOINTS))
        self.follow_faces()

    def forward(self, global_orient: Tensor, hand_pose: Tensor, betas: Tensor) -> ManoOutput:
        """Pose the hand.

        Args:
            global_orient: rotation of the wrist, `[B, 1, 3, 3]`.
            hand_pose: rotations of the 15 finger joints relative to their parents, `[B, 15, 3, 3]`.
            betas: shape coefficients, `[B, 10]`.

        Returns:
            Vertices and key points in the dtype of the layer, the wrist near the origin.
        """
        dtype = self.v_template.dtype
        with torch.autocast(betas.device.type, enabled=False):
            vertices, joints = skin_vertices(
                betas.to(dtype),
                torch.cat((global_orient, hand_pose), dim=1).to(dtype),
                v_template=self.v_template,
                shapedirs=self.shapedirs,
                posedirs=self.posedirs,
                joint_regressor=self.J_regressor,
                weights=self.lbs_weights,
                parents=PARENTS,
            )
            tips = vertices.index_select(1, self.extra_joints_idxs)
            joints = torch.cat((joints, tips), dim=1)  # [B, 21, 3]
            return ManoOutput(vertices, joints.index_select(1, self.joint_map))
