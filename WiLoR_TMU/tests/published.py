"""A class laid out like the published WiLoR's backbone, condensed, to patch as a user's checkout would be."""

import torch
from torch import Tensor, nn


class PublishedAttention(nn.Module):
    """Softmax written out, with dropouts that do nothing."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.dim = num_heads, dim
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attn_drop = nn.Dropout(0.0)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        batch, count, dim = x.shape
        q, k, v = self.qkv(x).reshape(batch, count, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        weights = self.attn_drop(((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1))
        return self.proj_drop(self.proj((weights @ v).transpose(1, 2).reshape(batch, count, dim)))


class PublishedMlp(nn.Module):
    """As everywhere."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2, self.drop = (
            nn.Linear(dim, 2 * dim),
            nn.GELU(),
            nn.Linear(2 * dim, dim),
            nn.Dropout(0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.act(self.fc1(x))))


class PublishedBlock(nn.Module):
    """Pre-norm."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.mlp, self.drop_path = (
            PublishedAttention(dim, num_heads),
            PublishedMlp(dim),
            nn.Identity(),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PublishedViT(nn.Module):
    """Embeds mean parameters as tokens in front of the patches, and slices them off again by their number."""

    def __init__(self, dim: int = 32, depth: int = 4, joints: int = 16) -> None:
        super().__init__()
        self.use_checkpoint, self.depth = False, depth
        self.patch_embed = nn.Conv2d(3, dim, 16, stride=16, padding=2)
        self.pos_embed = nn.Parameter(torch.randn(1, 193, dim))
        self.pose_emb, self.shape_emb, self.cam_emb = nn.Linear(6, dim), nn.Linear(10, dim), nn.Linear(3, dim)
        self.decpose, self.decshape, self.deccam = nn.Linear(dim, 6), nn.Linear(dim, 10), nn.Linear(dim, 3)
        self.blocks = nn.ModuleList(PublishedBlock(dim, 4) for _ in range(depth))
        self.last_norm = nn.LayerNorm(dim, eps=1e-6)
        self.register_buffer("init_cam", torch.randn(1, 3))
        self.register_buffer("init_hand_pose", torch.randn(1, 6 * joints))
        self.register_buffer("init_betas", torch.randn(1, 10))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = self.patch_embed(x)
        batch, _, rows, columns = x.shape
        x = x.flatten(2).transpose(1, 2) + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        pose = self.pose_emb(self.init_hand_pose.reshape(1, -1, 6)).repeat(batch, 1, 1)
        shape = self.shape_emb(self.init_betas).unsqueeze(1).repeat(batch, 1, 1)
        cam = self.cam_emb(self.init_cam).unsqueeze(1).repeat(batch, 1, 1)
        x = torch.cat([pose, shape, cam, x], 1)
        for block in self.blocks:
            x = block(x)
        x, joints = self.last_norm(x), pose.shape[1]
        image = x[:, joints + 2 :].reshape(batch, rows, columns, -1).permute(0, 3, 1, 2)
        decoded = self.decpose(x[:, :joints]).flatten(1) + self.init_hand_pose
        return decoded, self.decshape(x[:, joints]), self.deccam(x[:, joints + 1]), image


class PublishedModel(nn.Module):
    """Crops the image as the published model does."""

    def __init__(self, backbone: PublishedViT) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.backbone(batch["img"][:, :, :, 32:-32])
