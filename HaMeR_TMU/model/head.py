"""HaMeR's head: one learned query reads the backbone's tokens and gives MANO parameters and a camera.

Legend: B batch, N tokens, C channels. Names are those of the published checkpoints.

Source: Pavlakos et al. 2024, Reconstructing Hands in 3D with Transformers, arXiv:2312.05251.
"""

import torch
from torch import Tensor, nn

from shared_tmu.body_models.mano import MeanParams
from shared_tmu.errors import InputError
from shared_tmu.models.decoder import DecoderConfig, DecoderLayers
from shared_tmu.models.hand import (
    NUM_BETAS,
    NUM_CAMERA,
    NUM_POSE,
    mano_params,
    register_mean_params,
    start_near_mean,
    widened,
)


class QueryDecoder(nn.Module):
    """A single query whose input is zero, so that it starts as bias plus position embedding."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.to_token_embedding = nn.Linear(1, config.dim)
        self.pos_embedding = nn.Parameter(torch.randn(1, 1, config.dim))
        self.dropout = nn.Dropout(config.emb_dropout)
        self.transformer = DecoderLayers(config)

    def forward(self, context: Tensor) -> Tensor:
        """Read `context` `[B, N, C]` and return the query `[B, 1, dim]`."""
        zero = context.new_zeros(context.shape[0], 1, 1)
        query = self.to_token_embedding(zero) + self.pos_embedding
        return self.transformer(self.dropout(query), context)


class ManoHead(nn.Module):
    """Maps tokens to MANO rotations, shape and a weak-perspective camera, in at least float32."""

    init_hand_pose: Tensor
    init_betas: Tensor
    init_cam: Tensor

    def __init__(self, config: DecoderConfig, mean_params: MeanParams | None = None) -> None:
        super().__init__()
        self.context_dim = config.context_dim
        self.transformer = QueryDecoder(config)
        self.decpose = nn.Linear(config.dim, NUM_POSE)
        self.decshape = nn.Linear(config.dim, NUM_BETAS)
        self.deccam = nn.Linear(config.dim, NUM_CAMERA)
        start_near_mean(self.decpose, self.decshape, self.deccam)
        register_mean_params(self, mean_params)

    def forward(self, tokens: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Predict from tokens `[B, N, C]`, for any N, or from a feature map `[B, C, h, w]`.

        Returns:
            `{global_orient [B, 1, 3, 3], hand_pose [B, 15, 3, 3], betas [B, 10]}` and the camera `[B, 3]`
            (s, tx, ty).
        """
        pose, betas, camera = self.decode(tokens)
        return mano_params(pose, betas), camera

    def decode(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return pose `[B, 96]` (16 x 6D, mean added), betas `[B, 10]` and camera `[B, 3]`."""
        if tokens.ndim == 4:
            tokens = tokens.flatten(2).transpose(1, 2)
        if tokens.ndim != 3 or tokens.shape[-1] != self.context_dim:
            raise InputError(
                f"the head expects tokens [B, N, {self.context_dim}] or a map [B, {self.context_dim}, h, w], "
                f"found {list(tokens.shape)}."
            )
        query = self.transformer(tokens)[:, 0]
        pose = widened(self.decpose(query)) + widened(self.init_hand_pose)
        betas = widened(self.decshape(query)) + widened(self.init_betas)
        camera = widened(self.deccam(query)) + widened(self.init_cam)
        return pose, betas, camera
