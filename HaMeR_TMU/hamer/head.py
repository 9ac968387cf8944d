"""HaMeR's head: one learned query reads the backbone's tokens and becomes MANO parameters and a camera.

Legend: B batch, Q queries, N tokens, C channels, H heads, D channels per head. Names are those of the
published checkpoints.

Source: Pavlakos et al. 2024, Reconstructing Hands in 3D with Transformers, arXiv:2312.05251.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hamer.config import DecoderConfig
from shared_tmu.body_models.mano import MeanParams
from shared_tmu.errors import InputError
from shared_tmu.geometry import rot6d_to_rotmat

NUM_JOINTS, NUM_BETAS, NUM_CAMERA = 16, 10, 3


class PreNorm(nn.Module):
    """Normalise the input, not the context, of a layer."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.fn(self.norm(x)) if context is None else self.fn(self.norm(x), context)


class _Attention(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        inner = config.heads * config.dim_head
        self.heads, self.dropout = config.heads, config.dropout
        self.to_out = nn.Sequential(nn.Linear(inner, config.dim), nn.Dropout(config.dropout))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        width = q.shape[-1] // self.heads
        q, k, v = (x.unflatten(-1, (self.heads, width)).transpose(1, 2) for x in (q, k, v))  # [B, H, ., D]
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return self.to_out(out.transpose(1, 2).flatten(2))  # [B, Q, C]


class SelfAttention(_Attention):
    """Attention among the queries."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        self.to_qkv = nn.Linear(config.dim, 3 * config.heads * config.dim_head, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(*self.to_qkv(x).chunk(3, dim=-1))


class CrossAttention(_Attention):
    """Attention from the queries to the image tokens."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        inner = config.heads * config.dim_head
        self.to_kv = nn.Linear(config.context_dim, 2 * inner, bias=False)
        self.to_q = nn.Linear(config.dim, inner, bias=False)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.attend(self.to_q(x), *self.to_kv(context).chunk(2, dim=-1))


class FeedForward(nn.Module):
    """Two linear layers around an exact GELU, with dropout."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(config.dim, config.mlp_dim),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.mlp_dim, config.dim),
            nn.Dropout(config.dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class DecoderLayers(nn.Module):
    """Self-attention, cross-attention, feed-forward; pre-norm, residual, no final norm."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                PreNorm(config.dim, layer(config)) for layer in (SelfAttention, CrossAttention, FeedForward)
            )
            for _ in range(config.depth)
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        for self_attention, cross_attention, feed_forward in self.layers:
            x = x + self_attention(x)
            x = x + cross_attention(x, context)
            x = x + feed_forward(x)
        return x


class QueryDecoder(nn.Module):
    """A single query whose input is the number zero, so that it starts as bias plus position code."""

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
    """Tokens in; MANO rotations, shape and a weak-perspective camera out, in at least float32."""

    init_hand_pose: Tensor
    init_betas: Tensor
    init_cam: Tensor

    def __init__(self, config: DecoderConfig, mean_params: MeanParams | None = None) -> None:
        super().__init__()
        self.context_dim = config.context_dim
        self.transformer = QueryDecoder(config)
        self.decpose = nn.Linear(config.dim, 6 * NUM_JOINTS)
        self.decshape = nn.Linear(config.dim, NUM_BETAS)
        self.deccam = nn.Linear(config.dim, NUM_CAMERA)
        for decoder in (self.decpose, self.decshape, self.deccam):  # start close to the mean hand
            nn.init.xavier_uniform_(decoder.weight, gain=0.01)
            nn.init.zeros_(decoder.bias)
        if mean_params is None:
            pose, betas = torch.tensor([[1.0, 0, 0, 0, 1, 0] * NUM_JOINTS]), torch.zeros(1, NUM_BETAS)
            camera = torch.tensor([[0.9, 0.0, 0.0]])
        else:
            pose, betas, camera = (
                torch.tensor(x)[None] for x in (mean_params.pose, mean_params.shape, mean_params.cam)
            )
        self.register_buffer("init_hand_pose", pose)
        self.register_buffer("init_betas", betas)
        self.register_buffer("init_cam", camera)

    def forward(self, tokens: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Predict from tokens `[B, N, C]`, for any N, or from a feature map `[B, C, h, w]`.

        Returns:
            `{global_orient [B, 1, 3, 3], hand_pose [B, 15, 3, 3], betas [B, 10]}` and the camera `[B, 3]`
            (s, tx, ty).
        """
        pose, betas, camera = self.decode(tokens)
        rotmat = rot6d_to_rotmat(pose.unflatten(-1, (NUM_JOINTS, 6)))
        return {"global_orient": rotmat[:, :1], "hand_pose": rotmat[:, 1:], "betas": betas}, camera

    def decode(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return pose `[B, 96]` (16 x 6D, mean added), betas `[B, 10]` and camera `[B, 3]`."""
        if tokens.ndim == 4:
            tokens = tokens.flatten(2).transpose(1, 2)
        if tokens.ndim != 3 or tokens.shape[-1] != self.context_dim:
            raise InputError(
                f"the head reads tokens [B, N, {self.context_dim}] or a map [B, {self.context_dim}, h, w], "
                f"found {list(tokens.shape)}."
            )
        query = self.transformer(tokens)[:, 0]
        pose = _wide(self.decpose(query)) + _wide(self.init_hand_pose)
        betas = _wide(self.decshape(query)) + _wide(self.init_betas)
        camera = _wide(self.deccam(query)) + _wide(self.init_cam)
        return pose, betas, camera


def _wide(x: Tensor) -> Tensor:
    """Leave half precision behind: rotations and cameras need more digits than tokens do."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
