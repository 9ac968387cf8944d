"""Pictures as classifiers take them: resized, cut out of the centre, normalised; as timm does it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.errors import ConfigError, InputError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILTERS = ("bilinear", "bicubic", "lanczos", "nearest")
MODES = ("center", "squash")
MAX_PIXELS = 1 << 27
"""Of a picture before it is cut."""
_Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Crop:
    """How a picture becomes a model's input.

    Attributes:
        size: height and width of the input, pixels.
        mean, std: of each channel, RGB in 0..1.
        interpolation: one of `FILTERS`.
        share: side of the part that is kept, over that of the resized picture: timm's `crop_pct`.
        mode: `center` keeps proportions and cuts; `squash` resizes to the size.

    Raises:
        ConfigError: there is no such filter or mode.
    """

    size: tuple[int, int]
    mean: _Triple = IMAGENET_MEAN
    std: _Triple = IMAGENET_STD
    interpolation: str = "bicubic"
    share: float = 1.0
    mode: str = "center"

    def __post_init__(self) -> None:
        for what, found, known in (
            ("interpolation", self.interpolation, FILTERS),
            ("crop mode", self.mode, MODES),
        ):
            if found not in known:
                raise ConfigError(
                    f"this model asks for {what} {found!r}, which is not supported: use one of "
                    f"{', '.join(known)}."
                )

    def facts(self) -> dict[str, Any]:
        """In plain values, for results."""
        return {f"crop_{name}": value for name, value in asdict(self).items()}

    def cut(self, rgb: NDArray[np.uint8]) -> Tensor:
        """A picture `[H, W, 3]`, RGB, as input `[3, h, w]`.

        Raises:
            InputError: it is so long and narrow that it would be enormous with its short side enlarged.
        """
        from PIL import Image

        height, width = self.size
        sides = self._resized(rgb.shape[1], rgb.shape[0])
        if sides[0] * sides[1] > MAX_PIXELS:
            raise InputError(
                f"a picture of {rgb.shape[1]} x {rgb.shape[0]} pixels is too long and narrow: resized for "
                f"this model it would have {sides[0]} x {sides[1]}."
            )
        picture = Image.fromarray(rgb).resize(sides, self._filter())
        left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
        part = np.asarray(picture.crop((left, top, left + width, top + height)))  # black where it is smaller
        values = torch.from_numpy(part.copy()).permute(2, 0, 1).float() / 255.0
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (self.mean, self.std))
        return (values - mean) / std

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height before the cut."""
        aims = [int(side / self.share) for side in self.size]  # rounded down, as in timm
        if self.mode == "squash":
            return aims[1], aims[0]
        if aims[0] == aims[1]:
            short, long = min(width, height), max(width, height)
            other = max(1, int(aims[0] * long / short))
            return (aims[0], other) if width <= height else (other, aims[0])
        scale = max(aims[0] / height, aims[1] / width)
        return max(1, round(width * scale)), max(1, round(height * scale))

    def _filter(self) -> Any:
        from PIL import Image

        return getattr(Image.Resampling, self.interpolation.upper())
