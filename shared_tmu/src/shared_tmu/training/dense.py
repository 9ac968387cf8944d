"""Dense supervision: every patch token says what it sees. A ViT from scratch learns hands from this first.

The heads serve training only and are left out of shipped files.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PARTS = 17
KEYPOINTS = 21
CELLS = 4  # cells along each side of a patch


class DenseHeads(nn.Module):
    """Linear read-outs of patch tokens.

    Args:
        dim: channels of the tokens.
        grid: patch rows and columns.
        parts: kinds of cells, background included.
        keypoints: how many.
    """

    def __init__(
        self, dim: int, grid: tuple[int, int] = (16, 12), parts: int = PARTS, keypoints: int = KEYPOINTS
    ) -> None:
        super().__init__()
        self.grid, self.parts, self.keypoints = grid, parts, keypoints
        self.cells = nn.Linear(dim, CELLS * CELLS * (parts + 4))
        self.points = nn.Linear(dim, keypoints * 4)
        rows, columns = grid
        v, u = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centre = torch.stack([(u + 0.5) / rows - columns / rows / 2, (v + 0.5) / rows - 0.5], dim=-1)
        self.register_buffer("centre", centre.reshape(-1, 2).float(), persistent=False)

    centre: Tensor

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        """Read patch tokens `[B, P, C]`.

        Returns:
            `part` logits `[B, parts, 4h, 4w]`, `canonical` `[B, 4h, 4w, 3]` and `depth` `[B, 4h, 4w]` in
            units of length (see `dense_losses`), `keypoints_2d` `[B, J, 2]` in crops, `keypoint_depth`
            `[B, J]`, and what these two are weighted means of: `score` logits `[B, P, J]` and `place`
            `[B, P, J, 2]`.
        """
        batch, (rows, columns) = tokens.shape[0], self.grid
        parts, width = self.parts, self.parts + 4
        cells = self.cells(tokens).float().reshape(batch, rows, columns, CELLS, CELLS, width)
        cells = cells.permute(0, 1, 3, 2, 4, 5).reshape(batch, rows * CELLS, columns * CELLS, width)
        points = self.points(tokens).float().reshape(batch, rows * columns, self.keypoints, 4)
        weight = points[..., 0].softmax(dim=1)  # [B, P, J]
        place = self.centre[:, None] + points[..., 1:3] / rows
        return {
            "part": cells[..., :parts].permute(0, 3, 1, 2),
            "canonical": cells[..., parts : parts + 3],
            "depth": cells[..., parts + 3],
            "keypoints_2d": (weight[..., None] * place).sum(1),
            "keypoint_depth": (weight * points[..., 3]).sum(1),
            "score": points[..., 0],
            "place": place,
        }

    def patch_of(self, keypoints_2d: Tensor) -> tuple[Tensor, Tensor]:
        """Which patch holds each key point `[B, J, 2]`: numbers `[B, J]`, and whether any does `[B, J]`."""
        rows, columns = self.grid
        at = ((keypoints_2d - self.centre[0]) * rows + 0.5).floor().long()
        inside = (at >= 0).all(-1) & (at[..., 0] < columns) & (at[..., 1] < rows)
        column, row = at[..., 0].clamp(0, columns - 1), at[..., 1].clamp(0, rows - 1)
        return row * columns + column, inside


def heat_losses(heads: DenseHeads, read: dict[str, Tensor], keypoints_2d: Tensor) -> dict[str, Tensor]:
    """Each key point belongs to one patch that knows where in it: learned long before the mean place.

    Args:
        heads: know which patch lies where.
        read: what they read.
        keypoints_2d: true places, `[B, J, 2]` in crops; those outside of all patches are left out.
    """
    patch, inside = heads.patch_of(keypoints_2d)
    heat = F.cross_entropy(read["score"].transpose(1, 2).flatten(0, 1), patch.flatten(), reduction="none")
    index = patch[:, None, :, None].expand(-1, 1, -1, 2)
    place = read["place"].gather(1, index)[:, 0]
    count = inside.sum().clamp(min=1)
    return {
        "heat": (heat * inside.flatten()).sum() / count / 4.0,
        "place": 16.0 * ((place - keypoints_2d).abs().sum(-1) * inside).sum() / count,
    }


def dense_losses(read: dict[str, Tensor], batch: dict[str, Tensor], unit_m: float = 0.1) -> dict[str, Tensor]:
    """Losses of the dense heads, each about one at the start of training.

    Args:
        read: what `DenseHeads` returned.
        batch: targets as `shared_tmu.training.data.SynthHandSet` gives them, metres and crops.
        unit_m: metres per unit in which the heads give lengths; decimetres suit hands.
    """
    part = batch["part"]
    hand = (part > 0).float()
    count = hand.sum().clamp(min=1.0)
    weights = torch.ones(read["part"].shape[1], device=part.device)
    weights[0] = 0.25
    depth = batch["keypoints_3d"][..., 2] - batch["keypoints_3d"][:, :1, 2]
    return {
        "part": F.cross_entropy(read["part"], part, weight=weights) / 2.0,
        "canonical": ((read["canonical"] - batch["canonical"] / unit_m).abs().sum(-1) * hand).sum() / count,
        "depth": ((read["depth"] - batch["depth"] / unit_m).abs() * hand).sum() / count,
        "dense_2d": 8.0 * (read["keypoints_2d"] - batch["keypoints_2d"]).abs().sum(-1).mean(),
        "dense_depth": (read["keypoint_depth"] - depth / unit_m).abs().mean(),
    }
