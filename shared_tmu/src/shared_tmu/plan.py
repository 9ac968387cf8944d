"""MergePlan: which tokens share a slot, decided once, applied many times."""

from __future__ import annotations

from dataclasses import InitVar, dataclass

import torch
from torch import Tensor

from .errors import PlanError


@dataclass(frozen=True, eq=False)
class MergePlan:
    """Where every token goes: token n of image b is carried by slot `source_map[b, n]` of `num_slots`.

    Attributes:
        source_map: `[B, N]` int64, values 0..M-1; every slot carries at least one token.
        num_slots: M, tokens left after the merge.

    Raises:
        PlanError: the map is not `[B, N]` int64, or (unless `validate=False`, which spares a GPU a
            synchronisation) names a slot that does not exist, or leaves one empty.
    """

    source_map: Tensor
    num_slots: int
    validate: InitVar[bool] = True

    def __post_init__(self, validate: bool) -> None:
        if self.source_map.ndim != 2 or self.source_map.dtype != torch.int64:
            raise PlanError(
                f"a source map is [B, N] int64, not {list(self.source_map.shape)} {self.source_map.dtype}."
            )
        if validate:
            self.check()

    @classmethod
    def identity(
        cls, batch_size: int, num_tokens: int, device: torch.device | str | None = None
    ) -> MergePlan:
        """The plan that merges nothing: `[B, N]`, every token its own slot."""
        slots = torch.arange(num_tokens, device=device).expand(batch_size, -1)
        return cls(slots, num_tokens, validate=False)

    @property
    def batch_size(self) -> int:
        """B, images planned for."""
        return self.source_map.shape[0]

    @property
    def num_tokens(self) -> int:
        """N, tokens before the merge."""
        return self.source_map.shape[1]

    def check(self) -> MergePlan:
        """Look at every value of the map; returns the plan itself.

        Raises:
            PlanError: a slot outside 0..M-1, or one that carries no token.
        """
        if self.source_map.numel() == 0:
            return self
        low, high = (int(v) for v in self.source_map.aminmax())
        if low < 0 or high >= self.num_slots:
            raise PlanError(
                f"the source map names slots {low}..{high}, this plan has 0..{self.num_slots - 1}."
            )
        empty = (self.sizes() == 0).nonzero()
        if len(empty):
            image, slot = empty[0].tolist()
            raise PlanError(
                f"slot {slot} of image {image} carries no token ({len(empty)} such slots): "
                f"number the slots 0..M-1 without gaps."
            )
        return self

    def sizes(self) -> Tensor:
        """Tokens per slot, `[B, M]` int64: of a plan composed from the first layer on, the sizes."""
        zeros = torch.zeros(self.batch_size, self.num_slots, dtype=torch.int64, device=self.source_map.device)
        return zeros.scatter_add_(1, self.source_map, torch.ones_like(self.source_map))

    def flat_map(self) -> Tensor:
        """The map into the slots of all images one after the other: image b starts at b * M; `[B * N]`."""
        start = torch.arange(self.batch_size, device=self.source_map.device) * self.num_slots
        return (self.source_map + start.unsqueeze(1)).flatten()

    def then(self, second: MergePlan) -> MergePlan:
        """The single plan that does this one, then `second`: `[B, N]` to `[B, M]` to `[B, M2]`.

        Raises:
            PlanError: `second` was made for another number of tokens or images than this plan leaves.
        """
        if (second.batch_size, second.num_tokens) != (self.batch_size, self.num_slots):
            raise PlanError(
                f"the second plan was made for {second.num_tokens} tokens of {second.batch_size} images, "
                f"the first one leaves {self.num_slots} of {self.batch_size}."
            )
        return MergePlan(second.source_map.gather(1, self.source_map), second.num_slots, validate=False)

    def require_fit(self, x: Tensor, num_tokens: int) -> None:
        """Refuse tokens `[B, num_tokens, ...]` that this plan was not made for.

        Raises:
            PlanError: another number of images or tokens, or not at least `[B, N]`.
        """
        if x.ndim < 2 or x.shape[0] != self.batch_size or x.shape[1] != num_tokens:
            raise PlanError(
                f"this plan fits tensors [{self.batch_size}, {num_tokens}, ...], this one is {list(x.shape)}."
            )
