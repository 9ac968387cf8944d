"""What hand models take of a crop."""

from __future__ import annotations

import torch
from torch import Tensor

from shared_tmu.pictures.hand_crops import HandCrop


def hand_input(crop: HandCrop) -> dict[str, Tensor]:
    """A crop as input of hand models, and what is needed to return to its picture."""
    return {
        "img": torch.as_tensor(crop.img),
        "box_center": torch.as_tensor(crop.box_center, dtype=torch.float32),
        "box_size": torch.tensor(float(crop.box_size)),
        "right": torch.tensor(float(crop.right)),
        "to_picture": torch.from_numpy(crop.to_picture(crop.img.shape[-1])),
    }
