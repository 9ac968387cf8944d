"""The pose discriminator for adversarial training of hand models; not needed for inference.

Source: Kanazawa et al. 2018, End-to-end Recovery of Human Shape and Pose, arXiv:1712.06584, section 3.2: one
small discriminator per joint, one for all joints together, one for the shape.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_JOINTS, NUM_BETAS = 15, 10


class Discriminator(nn.Module):
    """Judges finger rotations and shape; 17 scores per hand: one per joint, one for the shape, one for all
    joints.
    """

    def __init__(self) -> None:
        super().__init__()
        self.D_conv1 = nn.Conv2d(9, 32, kernel_size=1)
        self.D_conv2 = nn.Conv2d(32, 32, kernel_size=1)
        self.pose_out = nn.ModuleList(nn.Linear(32, 1) for _ in range(NUM_JOINTS))
        self.betas_fc1 = nn.Linear(NUM_BETAS, 10)
        self.betas_fc2 = nn.Linear(10, 5)
        self.betas_out = nn.Linear(5, 1)
        self.D_alljoints_fc1 = nn.Linear(32 * NUM_JOINTS, 1024)
        self.D_alljoints_fc2 = nn.Linear(1024, 1024)
        self.D_alljoints_out = nn.Linear(1024, 1)

    def forward(self, hand_pose: Tensor, betas: Tensor) -> Tensor:
        """Score hands.

        Args:
            hand_pose: rotation matrices `[B, 15, 3, 3]`.
            betas: shape coefficients `[B, 10]`.

        Returns:
            Scores `[B, 17]`; 1 means real, 0 means predicted.
        """
        x = hand_pose.flatten(2).transpose(1, 2)[..., None]  # [B, 9, 15, 1]
        x = self.D_conv2(F.relu(self.D_conv1(x)))[..., 0]  # [B, 32, 15]
        joints = [out(x[..., j]) for j, out in enumerate(self.pose_out)]
        shape = self.betas_out(F.relu(self.betas_fc2(F.relu(self.betas_fc1(betas)))))
        every = F.relu(self.D_alljoints_fc2(F.relu(self.D_alljoints_fc1(x.flatten(1)))))
        return torch.cat((*joints, shape, self.D_alljoints_out(every)), dim=1)
