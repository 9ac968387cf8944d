"""What the programs need to know of a model, whatever it estimates: its ViT, its pictures, its outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from shared_tmu.errors import ConfigError
from shared_tmu.masks import PatchWindows, cover_tokens


@dataclass(frozen=True)
class Subject(ABC):
    """What models estimate.

    Args:
        name: `"hand"`, `"body"` or `"class"`; decides which evaluation sets are available.
        backbone: the attribute of models and configurations that holds the ViT.
        size: the entry of a configuration with the input size, one side or height and width.
        is_normalised: whether pictures have mean 0 and deviation 1, or are in 0..1.
    """

    _: KW_ONLY
    name: str
    backbone: str
    size: str
    is_normalised: bool

    @abstractmethod
    def dtype_error(self, found: Mapping[str, Any], exact: Mapping[str, Any]) -> Any:
        """How far an output in another number format is from that in float32: a dataclass that can be
        printed.
        """

    def vit(self, model: nn.Module) -> Any:
        """The ViT, which has `blocks`."""
        return getattr(model, self.backbone)

    def input_size(self, model: nn.Module) -> tuple[int, int]:
        """Height and width of the model's input, pixels.

        Raises:
            ConfigError: its configuration does not say.
        """
        size = _configured(model, self.size)
        height, width = (size, size) if isinstance(size, int) else size
        return int(height), int(width)

    def grid(self, model: nn.Module) -> tuple[int, int]:
        """Rows and columns of patches.

        Raises:
            ConfigError: its configuration does not say.
        """
        rows, columns = _configured(model, f"{self.backbone}.grid")
        return int(rows), int(columns)

    def cover(self, model: nn.Module, mask: Tensor) -> Tensor:
        """Which patch tokens cover a mask's foreground.

        Args:
            model: knows which pixels of a crop its ViT sees.
            mask: foreground pixels of the crops that the model gets, `[B, H, W]` bool.

        Returns:
            `[B, P]` bool.
        """
        seen: Any = getattr(model, "seen", None)
        mask = mask if seen is None else seen(mask)
        return cover_tokens(mask, PatchWindows.of(self.vit(model).patch_embed))

    def crops(self, model: nn.Module, count: int) -> dict[str, Tensor]:
        """Random crops `[B, 3, h, w]` as `img`, on the CPU, in float32."""
        draws = torch.Generator().manual_seed(0)
        draw = torch.randn if self.is_normalised else torch.rand
        return {"img": draw(count, 3, *self.input_size(model), generator=draws)}


def _configured(model: nn.Module, name: str) -> Any:
    """A value in a model's configuration, by its dotted name.

    Raises:
        ConfigError: the configuration does not have it.
    """
    found: Any = model
    for part in ("config", *name.split(".")):
        if not hasattr(found, part):
            raise ConfigError(
                f"config.{name} is needed to cut crops and to draw tokens, and this {type(model).__name__} "
                "has none: add this field to the model's configuration."
            )
        found = getattr(found, part)
    return found
