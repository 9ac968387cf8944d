"""A stand-in for the published WiLoR: mean parameters embedded as tokens, and sliced off again."""

import torch
from suites.published import DIM, PublishedViT
from torch import Tensor, nn


class WiLoRViT(PublishedViT):
    def __init__(self, joints: int = 16) -> None:
        super().__init__()
        self.pose_emb, self.shape_emb, self.cam_emb = (nn.Linear(n, DIM) for n in (6, 10, 3))
        self.decpose, self.decshape, self.deccam = (nn.Linear(DIM, n) for n in (6, 10, 3))
        self.register_buffer("init_cam", torch.randn(1, 3))
        self.register_buffer("init_hand_pose", torch.randn(1, 6 * joints))
        self.register_buffer("init_betas", torch.randn(1, 10))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        pose = self.pose_emb(self.init_hand_pose.reshape(1, -1, 6))
        shape, cam = self.shape_emb(self.init_betas)[:, None], self.cam_emb(self.init_cam)[:, None]
        tasks, feature_map = self.run(x, torch.cat((pose, shape, cam), dim=1))
        decoded = self.decpose(tasks[:, :-2]).flatten(1) + self.init_hand_pose
        return decoded, self.decshape(tasks[:, -2]), self.deccam(tasks[:, -1]), feature_map


class PublishedWiLoR(nn.Module):
    """Crops the image as the published model does."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = WiLoRViT()

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.backbone(batch["img"][:, :, :, 32:-32])
