"""Dense supervision: labels for every patch token, from which a ViT with random weights first learns hands.

The heads are used only in training and are not in shipped files.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_tmu.training.patches import CELLS, take_patches, to_patches

PARTS = 17
KEYPOINTS = 21

SILHOUETTE = "silhouette"
"""Name of the loss of an early block's tokens, and of the layer that reads them."""

DENSE_LOSSES = frozenset(
    ("part", "canonical", "depth", "dense_2d", "dense_depth", "heat", "place", SILHOUETTE)
)
"""Names of `dense_losses` and `heat_losses`."""


class DenseHeads(nn.Module):
    """Linear layers that read patch tokens.

    Args:
        dim: channels of the tokens.
        grid: patch rows and columns.
        parts: number of labels of cells, including the background.
        keypoints: number of key points.
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

    def forward(self, tokens: Tensor, kept: Tensor | None = None) -> dict[str, Any]:
        """Read patch tokens `[B, K, C]`.

        Args:
            tokens: tokens of all patches, or of some.
            kept: indices of these patches, `[B, K]`; None for all patches.

        Returns:
            `part` logits `[B, K, 16, parts]`, `canonical` `[B, K, 16, 3]` and `depth` `[B, K, 16]` in units
            of length (see `dense_losses`), `keypoints_2d` `[B, J, 2]` in crops, `keypoint_depth` `[B, J]`,
            the terms of which these two are weighted means: `score` logits `[B, K, J]` and `place` `[B, K, J,
            2]`; and `kept`, unchanged.
        """
        batch, count = tokens.shape[:2]
        # Split instead of slices: the gradient of each slice would be a full-size tensor of zeros.
        cells = self.cells(tokens).reshape(batch, count, CELLS * CELLS, -1).split((self.parts, 3, 1), dim=3)
        points = self.points(tokens).float().reshape(batch, count, self.keypoints, 4)
        score, offset, depth = (part.squeeze(3) for part in points.split((1, 2, 1), dim=3))
        weight = score.softmax(dim=1)  # [B, K, J]
        centre = self.centre if kept is None else self.centre[kept]
        place = centre[..., None, :] + offset / self.grid[0]
        return {
            "part": cells[0].float(),
            "canonical": cells[1].float(),
            "depth": cells[2].float().squeeze(3),
            "keypoints_2d": (weight[..., None] * place).sum(1),
            "keypoint_depth": (weight * depth).sum(1),
            "score": score,
            "place": place,
            "kept": kept,
        }

    def patch_of(self, keypoints_2d: Tensor) -> tuple[Tensor, Tensor]:
        """The patch that contains each key point `[B, J, 2]`: indices `[B, J]`, and whether there is one `[B,
        J]`.
        """
        rows, columns = self.grid
        at = ((keypoints_2d - self.centre[0]) * rows + 0.5).floor().long()
        inside = (at >= 0).all(-1) & (at[..., 0] < columns) & (at[..., 1] < rows)
        column, row = at[..., 0].clamp(0, columns - 1), at[..., 1].clamp(0, rows - 1)
        return row * columns + column, inside


def silhouette_head(dim: int) -> nn.Linear:
    """Reads from a token the logarithm of the odds with which a point of its patch shows the subject."""
    head = nn.Linear(dim, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def heat_losses(
    heads: DenseHeads, read: dict[str, Any], keypoints_2d: Tensor, confidence: Tensor | None = None
) -> dict[str, Tensor]:
    """Loss that assigns each key point to one patch and a position in it: this is learned long before the
    mean position.

    Args:
        heads: know the position of each patch.
        read: their predictions.
        keypoints_2d: true positions, `[B, J, 2]` in crops; those outside the patches that were read are left
            out.
        confidence: weight of each key point, `[B, J]`; None for equal weights.
    """
    patch, inside = rows_of(heads, keypoints_2d, read["kept"])
    heat = F.cross_entropy(read["score"].transpose(1, 2).flatten(0, 1), patch.flatten(), reduction="none")
    index = patch[:, None, :, None].expand(-1, 1, -1, 2)
    place = read["place"].gather(1, index)[:, 0]
    weight = inside if confidence is None else inside * confidence
    count = weight.sum().clamp(min=1)
    return {
        "heat": (heat * weight.flatten()).sum() / count / 4.0,
        "place": 16.0 * ((place - keypoints_2d).abs().sum(-1) * weight).sum() / count,
    }


def rows_of(heads: DenseHeads, keypoints_2d: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor]:
    """The row of the patches (all, or the `kept` ones) with each key point, and whether there is one: `[B,
    J]`.
    """
    patch, inside = heads.patch_of(keypoints_2d)
    if kept is None:
        return patch, inside
    row, is_kept = _row_of(patch, kept, len(heads.centre))
    return row, inside & is_kept


def _row_of(patch: Tensor, kept: Tensor, patches: int) -> tuple[Tensor, Tensor]:
    """Rows of `kept` `[B, K]` with patches `[B, J]` (0 for missing patches), and whether it has them."""
    rows = kept.new_full((len(kept), patches), -1)
    rows.scatter_(1, kept, torch.arange(kept.shape[1], device=kept.device).expand_as(kept))
    row = rows.gather(1, patch)
    return row.clamp(min=0), row >= 0


def dense_losses(read: dict[str, Any], batch: dict[str, Tensor], unit_m: float = 0.1) -> dict[str, Tensor]:
    """Losses of the dense heads, each about one at the start of training.

    Args:
        read: what `DenseHeads` returned, and `silhouette` logits `[B, K]` if an early block's are read.
        batch: targets from `shared_tmu.training.data.SynthHandSet`, in metres and crops.
        unit_m: unit of lengths that the heads predict, in metres; decimetres are suitable for hands.
    """
    part, canonical, seen_depth = (
        take_patches(to_patches(batch[name]), read["kept"]) for name in ("part", "canonical", "depth")
    )
    hand = (part > 0).float()
    count = hand.sum().clamp(min=1.0)
    weights = torch.ones(read["part"].shape[-1], device=part.device)
    weights[0] = 0.25
    depth = batch["keypoints_3d"][..., 2] - batch["keypoints_3d"][:, :1, 2]
    losses = {
        "part": F.cross_entropy(read["part"].flatten(0, 2), part.flatten(), weight=weights) / 2.0,
        "canonical": ((read["canonical"] - canonical / unit_m).abs().sum(-1) * hand).sum() / count,
        "depth": ((read["depth"] - seen_depth / unit_m).abs() * hand).sum() / count,
        "dense_2d": 8.0 * (read["keypoints_2d"] - batch["keypoints_2d"]).abs().sum(-1).mean(),
        "dense_depth": (read["keypoint_depth"] - depth / unit_m).abs().mean(),
    }
    if SILHOUETTE in read:
        covered = hand.mean(-1)  # [B, K], share of each patch
        losses[SILHOUETTE] = 0.3 * F.binary_cross_entropy_with_logits(read[SILHOUETTE], covered)
    return losses
