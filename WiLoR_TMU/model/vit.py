"""WiLoR's backbone: a ViT whose 18 task tokens, before the image tokens, give a first estimate.

Legend: B batch, T = 18 task tokens, P patch tokens, C channels. Names are those of the published checkpoints.

Source: Potamias et al. 2025, WiLoR: End-to-end 3D Hand Localization and Reconstruction in-the-wild,
    arXiv:2409.12259.
"""

import torch
from torch import Tensor, nn

from shared_tmu.body_models.mano import MeanParams
from shared_tmu.errors import InputError
from shared_tmu.models.config import ViTConfig
from shared_tmu.models.hand import (
    NUM_BETAS,
    NUM_CAMERA,
    NUM_JOINTS,
    register_mean_params,
    start_near_mean,
    widened,
)
from shared_tmu.models.vit import ViT

NUM_TASK_TOKENS = NUM_JOINTS + 2


class TaskTokenViT(ViT):
    """Maps images `[B, 3, h, w]` to tokens `[B, 18 + P, C]`: 16 pose, 1 shape, 1 camera, then the image.

    Args:
        config: sizes.
        mean_params: initial values of the task tokens, to which the estimate is relative.
    """

    num_prefix_tokens = NUM_TASK_TOKENS

    init_hand_pose: Tensor
    init_betas: Tensor
    init_cam: Tensor

    def __init__(self, config: ViTConfig, mean_params: MeanParams | None = None) -> None:
        super().__init__(config)
        dim = config.embed_dim
        register_mean_params(self, mean_params)
        self.pose_emb = nn.Linear(6, dim)
        self.shape_emb = nn.Linear(NUM_BETAS, dim)
        self.cam_emb = nn.Linear(NUM_CAMERA, dim)
        self.decpose = nn.Linear(dim, 6)
        self.decshape = nn.Linear(dim, NUM_BETAS)
        self.deccam = nn.Linear(dim, NUM_CAMERA)
        start_near_mean(self.decpose, self.decshape, self.deccam)
        if mean_params is not None:
            self._set_pose_tokens_apart()

    @torch.no_grad()
    def _set_pose_tokens_apart(self) -> None:
        """Embed joints so that each starts with a different token, even if mean rotations are similar."""
        rotations = self.init_hand_pose.reshape(NUM_JOINTS, 6)
        centred = rotations - rotations.mean(0)
        spread = centred.T @ centred / NUM_JOINTS + 1e-3 * torch.eye(6)
        whiten = torch.linalg.inv(torch.linalg.cholesky(spread))  # [6, 6]
        self.pose_emb.weight.copy_(0.2 * torch.randn(self.embed_dim, 6) @ whiten)
        self.pose_emb.bias.copy_(-self.pose_emb.weight @ rotations.mean(0))

    def task_tokens_for(self, batch_size: int) -> Tensor:
        """The 18 task tokens `[B, 18, C]`, the same for every image."""
        pose = self.pose_emb(self.init_hand_pose.reshape(1, NUM_JOINTS, 6))
        shape, camera = self.shape_emb(self.init_betas)[:, None], self.cam_emb(self.init_cam)[:, None]
        return torch.cat((pose, shape, camera), dim=1).expand(batch_size, -1, -1)

    def decode(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The first estimate from tokens `[B, 18 + P, C]`, in at least float32.

        Returns:
            Pose `[B, 96]` (16 x 6D, mean added), betas `[B, 10]` and camera `[B, 3]`.
        """
        pose = widened(self.decpose(tokens[:, :NUM_JOINTS])).flatten(1) + widened(self.init_hand_pose)
        betas = widened(self.decshape(tokens[:, NUM_JOINTS])) + widened(self.init_betas)
        camera = widened(self.deccam(tokens[:, NUM_JOINTS + 1])) + widened(self.init_cam)
        return pose, betas, camera

    def feature_map(self, tokens: Tensor) -> Tensor:
        """The image tokens of `[B, 18 + P, C]` as a map `[B, C, h, w]`.

        Raises:
            InputError: they are not exactly a full grid.
        """
        rows, columns = self.config.grid
        wanted = NUM_TASK_TOKENS + rows * columns
        if tokens.ndim != 3 or tokens.shape[1] != wanted or tokens.shape[2] != self.embed_dim:
            raise InputError(
                f"WiLoR's refinement needs the full {rows} x {columns} grid after the {NUM_TASK_TOKENS} "
                f"task tokens, [B, {wanted}, {self.embed_dim}], found {list(tokens.shape)}: unmerge merged "
                "tokens first (`tmu.patch` does, and for merge-only, `unmerge=False`, puts a sparse grid "
                "there)."
            )
        return tokens[:, NUM_TASK_TOKENS:].transpose(1, 2).unflatten(2, (rows, columns))
