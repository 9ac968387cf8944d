"""A stand-in for the published SMPLest-X: task tokens are a parameter, and returned apart."""

import torch
from suites.published import DIM, PublishedViT
from torch import Tensor, nn


class SMPLestXViT(PublishedViT):
    def __init__(self, task_tokens_num: int = 80) -> None:
        super().__init__()
        self.task_tokens = nn.Parameter(torch.randn(1, task_tokens_num, DIM))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        tasks, feature_map = self.run(x, self.task_tokens)
        return feature_map, tasks


class PublishedSMPLestX(nn.Module):
    """Holds the ViT as `encoder`; the published programs put it into `nn.DataParallel`."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = SMPLestXViT()
        self.decoder = nn.Linear(DIM, 3)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        feature_map, tasks = self.encoder(batch["img"])
        return self.decoder(torch.cat((tasks, feature_map.flatten(2).transpose(1, 2)), dim=1))
