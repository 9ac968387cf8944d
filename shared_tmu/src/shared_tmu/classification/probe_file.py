"""Files of linear probes: one linear layer in float16, a few kilobytes, and which ViT it is for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from shared_tmu.errors import CheckpointError
from shared_tmu.files.checkpoints import read_checkpoint, read_metadata, save_safetensors
from shared_tmu.programs.identity import weights_sha256

FOLDER = Path(__file__).parents[1] / "assets" / "probes"
_ABOUT = "linear_probe"


@dataclass(frozen=True)
class ProbeFile:
    """A linear probe.

    Attributes:
        weight: `[K, F]`.
        bias: `[K]`.
        classes: names of the K classes.
        vit_sha256: digest of the weights of the ViT whose features it reads.
        image_size: height and width of the pictures, pixels.
        about: how it was made, in plain values.
    """

    weight: Tensor
    bias: Tensor
    classes: tuple[str, ...]
    vit_sha256: str
    image_size: tuple[int, int]
    about: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it, in one step."""
        facts = {"classes": self.classes, "vit_sha256": self.vit_sha256, "image_size": self.image_size}
        tensors = {"weight": self.weight.half(), "bias": self.bias.half()}
        save_safetensors(tensors, path, {_ABOUT: json.dumps({**facts, "about": dict(self.about)})})

    @classmethod
    def load(cls, path: Path) -> ProbeFile:
        """Read it.

        Raises:
            MissingAssetError: there is no such file.
            CheckpointError: it is damaged, or another file.
        """
        tensors = read_checkpoint(path, "scripts/train_probe.py makes one.")
        try:
            facts = json.loads(read_metadata(path)[_ABOUT])
            classes, size = tuple(facts["classes"]), facts["image_size"]
            weight, bias = tensors["weight"].float(), tensors["bias"].float()
            if weight.ndim != 2 or weight.shape[0] != len(classes) or bias.shape != weight.shape[:1]:
                raise ValueError("its tensors do not fit its classes")
            return cls(weight, bias, classes, facts["vit_sha256"], (size[0], size[1]), facts["about"])
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise CheckpointError(
                f"{path} is no linear probe, or damaged: scripts/train_probe.py makes one."
            ) from error

    def require_fit(self, vit: nn.Module, image_size: tuple[int, int], path: Path) -> None:
        """Refuse another ViT, or pictures of another size.

        Raises:
            CheckpointError: says what the probe is for.
        """
        if self.vit_sha256 != weights_sha256(vit):
            raise CheckpointError(
                f"{path} was trained on a ViT with other weights: train one for these with "
                "scripts/train_probe.py."
            )
        if self.image_size != image_size:
            raise CheckpointError(
                f"{path} was trained on pictures of {self.image_size[0]} x {self.image_size[1]} pixels, not "
                f"{image_size[0]} x {image_size[1]}: give --img_size {self.image_size[0]}, or train one."
            )

    def head(self) -> nn.Linear:
        """The layer, in float32."""
        layer = nn.Linear(self.weight.shape[1], self.weight.shape[0])
        layer.load_state_dict({"weight": self.weight, "bias": self.bias})
        return layer.requires_grad_(False)


def probe_name(data: str, image_size: tuple[int, int]) -> str:
    """File name of the probe for a set, and for pictures of a size."""
    side = str(image_size[0]) if image_size[0] == image_size[1] else f"{image_size[0]}x{image_size[1]}"
    return f"{data}-{side}.safetensors"


def find_probe(data: str, image_size: tuple[int, int]) -> Path | None:
    """The shipped probe for a set of this name, on the real ViT-S; None if there is none."""
    path = FOLDER / probe_name(data, image_size)
    return path if path.is_file() else None
