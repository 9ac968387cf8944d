"""The SMPL-X layer of SMPLest-X: axis-angle in, vertices and 137 key points out."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from shared_tmu.body_models.kept_wide import KeptWide, Struct, smplx
from shared_tmu.body_models.landmarks import contour_rows, points_on_faces
from shared_tmu.body_models.skinning import skin_vertices
from shared_tmu.body_models.smplx_model import KEYPOINTS, NECK, NUM_BETAS, PARENTS, SmplxModel
from shared_tmu.pictures.geometry import axis_angle_to_rotmat


def _up_from(joint: int) -> tuple[int, ...]:
    return (joint,) if PARENTS[joint] < 0 else (joint, *_up_from(PARENTS[joint]))


NECK_CHAIN = _up_from(NECK)
"""Joints from the neck to the root, whose rotations together determine the contour of the face."""


class SmplxOutput(NamedTuple):
    """A posed body, metres.

    Attributes:
        vertices: `[B, 10475, 3]`.
        joints: `[B, 144, 3]`: 55 of the tree, 21 vertices, 51 landmarks and 17 contour points of the face.
        keypoints: `[B, 137, 3]`, the joints that SMPLest-X uses, in its order (`KEYPOINTS`).
    """

    vertices: Tensor
    joints: Tensor
    keypoints: Tensor


class SmplxLayer(KeptWide, smplx.SMPLX):  # type: ignore[misc]
    """smplx's SMPL-X layer on arrays in memory, as SMPLest-X uses it.

    smplx provides buffers and names; skinning is `skinning.skin_vertices`, as in `ManoLayer`. The **mean hand
    pose is added** to the hand poses, so that zero means a relaxed hand; the eyes look straight ahead.
    State-dict keys and shapes are those of the published model's body layer. The layer keeps at least float32
    when the model around it is converted to half precision, and ignores autocast.
    """

    SHAPE_SPACE_DIM = NUM_BETAS  # the number in a `SmplxModel`; smplx prints a warning if it expects more
    keypoint_index: Tensor

    def __init__(self, body: SmplxModel, dtype: torch.dtype = torch.float32) -> None:
        content = Struct(**(body.to_dict() | {"shapedirs": body.shapedirs}))
        created = ("betas", "global_orient", "body_pose", "transl", "left_hand_pose", "right_hand_pose")
        # smplx.SMPLX itself accepts only a path, and unpickles the file: call the class above it instead.
        super(smplx.SMPLX, self).__init__(
            model_path="",
            data_struct=content,
            use_pca=False,
            flat_hand_mean=False,
            num_betas=NUM_BETAS,
            vertex_ids=smplx.vertex_ids.vertex_ids["smplx"],
            dtype=dtype,
            **{f"create_{name}": False for name in created},
        )
        self.use_face_contour = True
        self._num_expression_coeffs = body.exprdirs.shape[-1]
        for name in ("lmk_faces_idx", "dynamic_lmk_faces_idx"):
            self.register_buffer(name, torch.tensor(getattr(body, name)))
        for name in ("lmk_bary_coords", "dynamic_lmk_bary_coords"):
            self.register_buffer(name, torch.tensor(getattr(body, name), dtype=dtype))
        self.register_buffer("neck_kin_chain", torch.tensor(NECK_CHAIN))
        self.register_buffer("expr_dirs", torch.tensor(body.exprdirs, dtype=dtype))
        self.register_buffer("keypoint_index", torch.tensor(KEYPOINTS), persistent=False)
        self.follow_faces()

    def create_mean_pose(self, data_struct: Any, flat_hand_mean: bool = False) -> Tensor:
        """The mean pose `[165]`, zero except for the hands; smplx calls this while building."""
        del data_struct, flat_hand_mean
        rest = torch.zeros(3 * (1 + self.NUM_BODY_JOINTS + self.NUM_FACE_JOINTS), dtype=self.dtype)
        return torch.cat((rest, self.left_hand_mean, self.right_hand_mean))

    def forward(
        self,
        global_orient: Tensor,
        body_pose: Tensor,
        left_hand_pose: Tensor,
        right_hand_pose: Tensor,
        jaw_pose: Tensor,
        betas: Tensor,
        expression: Tensor,
        transl: Tensor | None = None,
    ) -> SmplxOutput:
        """Pose the body.

        Args:
            global_orient: rotation of the pelvis, axis-angle in radians like all rotations here, `[B, 3]`.
            body_pose: rotations of the 21 body joints relative to their parents, `[B, 63]`.
            left_hand_pose: rotations of 15 finger joints, relative to the mean hand pose, `[B, 45]`.
            right_hand_pose: the same for the right hand, `[B, 45]`.
            jaw_pose: `[B, 3]`.
            betas: shape coefficients, `[B, 10]`.
            expression: expression coefficients, `[B, 10]`.
            transl: translation of everything, metres, `[B, 3]`; zero by default.

        Returns:
            Vertices, joints and key points in the dtype of the layer.
        """
        dtype, batch = self.v_template.dtype, betas.shape[0]
        with torch.autocast(betas.device.type, enabled=False):
            eyes = global_orient.new_zeros(batch, 6)
            parts = (global_orient, body_pose, jaw_pose, eyes, left_hand_pose, right_hand_pose)
            pose = torch.cat([part.flatten(1).to(dtype) for part in parts], dim=1)
            rotmat = axis_angle_to_rotmat((pose + self.pose_mean).unflatten(1, (-1, 3)))  # [B, 55, 3, 3]
            vertices, joints = skin_vertices(
                torch.cat((betas, expression), dim=1).to(dtype),
                rotmat,
                v_template=self.v_template,
                shapedirs=torch.cat((self.shapedirs, self.expr_dirs), dim=2),
                posedirs=self.posedirs,
                joint_regressor=self.J_regressor,
                weights=self.lbs_weights,
                parents=PARENTS,
            )
            picked = vertices.index_select(1, self.vertex_joint_selector.extra_joints_idxs)
            joints = torch.cat((joints, picked, self._landmarks(vertices, rotmat)), dim=1)  # [B, 144, 3]
            if transl is not None:
                vertices, joints = (points + transl.to(dtype)[:, None] for points in (vertices, joints))
            return SmplxOutput(vertices, joints, joints.index_select(1, self.keypoint_index))

    def _landmarks(self, vertices: Tensor, rotmat: Tensor) -> Tensor:
        """Points on the face `[B, 68, 3]`: 51 fixed on the skin, 17 of the visible contour."""
        batch = vertices.shape[0]
        rows = contour_rows(rotmat, NECK_CHAIN)
        faces = (self.lmk_faces_idx.expand(batch, -1), self.dynamic_lmk_faces_idx[rows])
        places = (self.lmk_bary_coords.expand(batch, -1, -1), self.dynamic_lmk_bary_coords[rows])
        return points_on_faces(vertices, self.faces_tensor, torch.cat(faces, dim=1), torch.cat(places, dim=1))
