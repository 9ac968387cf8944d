"""A stand-in for the published HaMeR: its ViT returns a map, which the head flattens again."""

from suites.published import DIM, PublishedViT
from torch import Tensor, nn


class HaMeRViT(PublishedViT):
    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)[1]


class PublishedHaMeR(nn.Module):
    """Crops the image as the published model does."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = HaMeRViT()
        self.mano_head = nn.Linear(DIM, 3)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        tokens = self.backbone(batch["img"][:, :, :, 32:-32]).flatten(2).transpose(1, 2)
        return self.mano_head(tokens)
