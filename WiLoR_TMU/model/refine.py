"""WiLoR's refinement: corrects the first estimate with image features, sampled at the projection of its mesh.

Legend: B batch, C channels, V vertices, h x w a map's rows and columns. Names are those of the published
checkpoints.

Source: Potamias et al. 2025, WiLoR, arXiv:2409.12259.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_tmu.models.hand import NUM_BETAS, NUM_CAMERA, NUM_POSE, start_near_mean, widened
from shared_tmu.pictures.geometry import project_points, weak_camera_to_translation


class FeaturePyramid(nn.Module):
    """Makes maps of increasing resolution from one map; each chain of upsampling layers starts from the
    coarsest map.

    Args:
        channels: C of the input map; the coarsest map has half as many.
        scales: number of maps; each is twice as fine as the previous one, with half its channels.
    """

    def __init__(self, channels: int, scales: int) -> None:
        super().__init__()
        half = channels // 2
        self.first_conv = nn.Sequential(nn.Conv2d(channels, half, kernel_size=1))
        self.deconv = nn.ModuleList(_chain(half, steps) for steps in range(1, scales))

    def forward(self, feature_map: Tensor) -> list[Tensor]:
        """Convert a map `[B, C, h, w]` to maps, the finest first, the last one `[B, C / 2, h, w]`."""
        low = self.first_conv(feature_map)
        return [*(chain(low) for chain in reversed(self.deconv)), low]


def _chain(channels: int, steps: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for step in range(steps):
        before, after = channels >> step, channels >> (step + 1)
        layers += [
            nn.ConvTranspose2d(before, after, kernel_size=4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


class RefineNet(nn.Module):
    """Corrects a first estimate by the image features at its vertices.

    The published network projects vertices to normalised coordinates, about -0.5..0.5, and samples as if
    these were pixels: every sample lies near the first cell of each map. The weights were trained with this,
    so it is done here too; do not "fix" it.

    Args:
        channels: C of the backbone.
        scales: see `FeaturePyramid`.
        focal_length_px: focal length of the crop's camera.
    """

    def __init__(self, channels: int, scales: int, focal_length_px: float) -> None:
        super().__init__()
        self.focal_length_px = focal_length_px
        self.deconv = FeaturePyramid(channels, scales)
        width = sum(channels >> (scale + 1) for scale in range(scales))
        self.dec_pose = nn.Linear(width, NUM_POSE)
        self.dec_cam = nn.Linear(width, NUM_CAMERA)
        self.dec_shape = nn.Linear(width, NUM_BETAS)
        start_near_mean(self.dec_pose, self.dec_cam, self.dec_shape)

    def forward(self, feature_map: Tensor, vertices: Tensor, camera: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The corrections that are added to the first estimate.

        Args:
            feature_map: image tokens, `[B, C, h, w]`.
            vertices: vertices of the first estimate, `[B, V, 3]` metres.
            camera: camera of the first estimate, `[B, 3]`.

        Returns:
            Changes of pose `[B, 96]`, betas `[B, 10]` and camera `[B, 3]`, in at least float32.
        """
        features = self.vertex_features(feature_map, vertices, camera)
        pose, betas, shift = self.dec_pose(features), self.dec_shape(features), self.dec_cam(features)
        return widened(pose), widened(betas), widened(shift)

    def vertex_features(self, feature_map: Tensor, vertices: Tensor, camera: Tensor) -> Tensor:
        """The largest value of every channel over the vertices, all maps concatenated, `[B, channels]`."""
        found = []
        for level in self.deconv(feature_map):
            points = self.sample_points(vertices, camera, level.shape[2])
            found.append(sample_pixels(level, points).amax(dim=2))  # [B, C / 2 ** i]
        return torch.cat(found, dim=1).to(feature_map.dtype)

    def sample_points(self, vertices: Tensor, camera: Tensor, height: int) -> Tensor:
        """The positions at which vertices `[B, V, 3]` sample a map of `height` rows: (x, y) pixels, `[B, V,
        2]`.
        """
        translation = weak_camera_to_translation(camera, self.focal_length_px, height)
        focal = torch.full_like(camera[:, :2], self.focal_length_px / height)
        return project_points(vertices, translation, focal)


def sample_pixels(feature_map: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of a map `[B, C, h, w]` at pixels (x, y) `[B, V, 2]`, zero outside; `[B, C, V]`.

    Computed in at least float32: half precision cannot represent a position within a pixel.
    """
    wide = torch.promote_types(widened(feature_map).dtype, points.dtype)
    height, width = feature_map.shape[2:]
    # Sizes as numbers instead of a tensor: a GPU would wait for a tensor to be copied to it.
    lasts = zip(points.unbind(-1), (width - 1, height - 1), strict=True)
    grid = torch.stack([2 * axis / last - 1 for axis, last in lasts], dim=-1)[:, :, None]  # [B, V, 1, 2]
    sampled = F.grid_sample(feature_map.to(wide), grid.to(wide), align_corners=True)  # [B, C, V, 1]
    return sampled[..., 0]
