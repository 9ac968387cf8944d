"""Points on a face: some are fixed on the skin, those of the contour depend on the rotation of the head.

smplx has the same for its own layers (the tests compare the two); this one uses only tensor operations, so it
can be exported, and accepts any number of bodies, including none.

Shapes: B bodies, V vertices, J joints, L landmarks, F faces of the mesh.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

MAX_TURN_DEG = 39


def contour_rows(rotmat: Tensor, chain: Sequence[int]) -> Tensor:
    """Row of the table of contours for each body, `[B]` int64: 0 to 39 degrees to one side, then 1 to 39 to
    the other.

    Args:
        rotmat: rotation of every joint relative to its parent, `[B, J, 3, 3]`.
        chain: joints from the neck up to the root.
    """
    total = rotmat[:, chain[0]]
    for joint in chain[1:]:
        total = rotmat[:, joint] @ total
    yaw = -torch.atan2(-total[:, 2, 0], (total[:, 0, 0] ** 2 + total[:, 1, 0] ** 2).sqrt())
    # no row has that number; the vertices show that the rotation was not finite
    yaw = yaw.masked_fill(yaw.isnan(), 0.0)
    turn_deg = torch.rad2deg(yaw).clamp(-MAX_TURN_DEG, MAX_TURN_DEG).round().long()
    return torch.where(turn_deg < 0, MAX_TURN_DEG - turn_deg, turn_deg)


def points_on_faces(vertices: Tensor, faces: Tensor, index: Tensor, places: Tensor) -> Tensor:
    """Points `[B, L, 3]` inside faces of a mesh.

    Args:
        vertices: `[B, V, 3]`.
        faces: corners of every face, `[F, 3]`.
        index: the face of each point, `[B, L]`.
        places: barycentric coordinates in that face, `[B, L, 3]`.
    """
    corners = faces[index].flatten(1)  # [B, 3 * L]
    found = vertices.gather(1, corners.unsqueeze(2).expand(-1, -1, 3))
    return (found.view(*index.shape, 3, 3) * places.unsqueeze(3)).sum(2)
