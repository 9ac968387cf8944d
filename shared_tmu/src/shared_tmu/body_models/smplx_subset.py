"""Computes a subset of SMPL-X's vertices and all key points, for training, without the rest of the mesh."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared_tmu.body_models.landmarks import contour_rows
from shared_tmu.body_models.skinning import bend_vertices
from shared_tmu.body_models.smplx_layer import NECK_CHAIN, SmplxLayer, SmplxOutput
from shared_tmu.body_models.smplx_model import PARENTS
from shared_tmu.pictures.geometry import axis_angle_to_rotmat


class SmplxSubset(nn.Module):
    """Like `SmplxLayer`, but only for the chosen vertices and those from which key points are computed.

    Joints at rest depend only on shape, so the regressor is applied once, to the template and the shape
    directions. Rotations are given as matrices, since networks predict these; the state dict is empty.

    Args:
        layer: the whole body; its arrays are copied.
        rows: indices of the chosen vertices, `[K]`.
    """

    template: Tensor
    shapedirs: Tensor
    posedirs: Tensor
    weights: Tensor
    joint_template: Tensor
    joint_shapedirs: Tensor
    extra: Tensor
    landmarks: Tensor
    landmark_places: Tensor
    contours: Tensor
    contour_places: Tensor
    keypoint_index: Tensor
    hand_means: Tensor

    def __init__(self, layer: SmplxLayer, rows: Tensor) -> None:
        super().__init__()
        self.count = len(rows)
        corners = [layer.faces_tensor[index] for index in (layer.lmk_faces_idx, layer.dynamic_lmk_faces_idx)]
        extra = layer.vertex_joint_selector.extra_joints_idxs
        place = torch.zeros(len(layer.v_template), dtype=torch.long)
        place[torch.cat([extra, *(faces.flatten() for faces in corners)])] = 1
        used = torch.cat((rows, place.nonzero()[:, 0]))
        place[used] = torch.arange(len(used))
        directions = torch.cat((layer.shapedirs, layer.expr_dirs), dim=2)
        bends = layer.posedirs.reshape(len(layer.posedirs), -1, 3)[:, used]
        arrays = {
            "template": layer.v_template[used],
            "shapedirs": directions[used].flatten(0, 1).T,  # [S, K * 3]
            "posedirs": bends.flatten(1),
            "weights": layer.lbs_weights[used],
            "joint_template": layer.J_regressor @ layer.v_template,
            "joint_shapedirs": torch.einsum("jv,vks->sjk", layer.J_regressor, directions).flatten(1),
            "extra": place[extra],
            "landmarks": place[corners[0]],  # [51, 3]
            "landmark_places": layer.lmk_bary_coords,
            "contours": place[corners[1]],  # [79, 17, 3]
            "contour_places": layer.dynamic_lmk_bary_coords,
            "keypoint_index": layer.keypoint_index,
            "hand_means": torch.stack((layer.left_hand_mean, layer.right_hand_mean)).reshape(2, -1, 3),
        }
        for name, array in arrays.items():
            self.register_buffer(name, array.detach().clone(), persistent=False)

    def hands(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Rotation matrices `[B, 15, 3, 3]` for hand poses `[B, 15, 3]`, axis-angle vectors to which the mean
        is added.
        """
        return axis_angle_to_rotmat(left + self.hand_means[0]), axis_angle_to_rotmat(
            right + self.hand_means[1]
        )

    def forward(
        self,
        root: Tensor,
        body: Tensor,
        left_hand: Tensor,
        right_hand: Tensor,
        jaw: Tensor,
        betas: Tensor,
        expression: Tensor,
    ) -> SmplxOutput:
        """Pose the body.

        Args:
            root: rotation of the pelvis, a matrix like all rotations here, `[B, 1, 3, 3]`.
            body: rotations of the 21 body joints relative to their parents, `[B, 21, 3, 3]`.
            left_hand, right_hand: rotations of 15 finger joints each, including the mean pose, `[B, 15, 3,
                3]`.
            jaw: rotation of the jaw, `[B, 1, 3, 3]`.
            betas, expression: coefficients, `[B, 10]` each.

        Returns:
            The chosen vertices, joints and key points, without a translation.
        """
        with torch.autocast(betas.device.type, enabled=False):
            batch = len(root)
            eyes = torch.eye(3, device=root.device, dtype=root.dtype).expand(batch, 2, 3, 3)
            rotmat = torch.cat((root, body, jaw, eyes, left_hand, right_hand), dim=1)  # [B, 55, 3, 3]
            coefficients = torch.cat((betas, expression), dim=1).to(self.template.dtype)
            vertices, joints = bend_vertices(
                self.template + (coefficients @ self.shapedirs).reshape(batch, -1, 3),
                self.joint_template + (coefficients @ self.joint_shapedirs).reshape(batch, -1, 3),
                rotmat.to(self.template.dtype),
                posedirs=self.posedirs,
                weights=self.weights,
                parents=PARENTS,
            )
            picked = vertices[:, self.extra]
            joints = torch.cat((joints, picked, self._landmarks(vertices, rotmat)), dim=1)  # [B, 144, 3]
            return SmplxOutput(vertices[:, : self.count], joints, joints[:, self.keypoint_index])

    def _landmarks(self, vertices: Tensor, rotmat: Tensor) -> Tensor:
        """Points on the face `[B, 68, 3]`; see `SmplxLayer`."""
        rows = contour_rows(rotmat, NECK_CHAIN)
        batch = len(vertices)
        corners = torch.cat((self.landmarks.expand(batch, -1, -1), self.contours[rows]), dim=1)
        places = torch.cat((self.landmark_places.expand(batch, -1, -1), self.contour_places[rows]), dim=1)
        found = vertices.gather(1, corners.flatten(1).unsqueeze(2).expand(-1, -1, 3))
        return (found.view(*corners.shape, 3) * places.unsqueeze(3)).sum(2)
