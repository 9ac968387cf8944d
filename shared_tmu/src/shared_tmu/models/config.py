"""Model sizes as frozen dataclasses, read from our YAML or from the published one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from shared_tmu.errors import ConfigError
from shared_tmu.files.yaml_files import brief, read_yaml
from shared_tmu.models.fields import build, expect, expect_published, expect_within, plain, section

MAX_LAYERS, MAX_CHANNELS, MAX_SIDE_PX, MAX_PATCHES, MAX_MLP_RATIO = 256, 1 << 16, 1 << 14, 1 << 16, 64.0
"""Limits several times above the largest existing ViTs: a larger configuration is a mistake, and building it
would use up the machine's memory.
"""
PATCHES, CONV_STEM = "patches", "conv"
"""How patch tokens are made; see `models.stem`."""
BBOX_SHAPE = [192, 256]
"""Shape (width, height) to which boxes are extended, as published; see `hand_crops.ASPECT`."""


@dataclass(frozen=True)
class ViTConfig:
    """A backbone. Defaults are ViT-H as published: 192 patch tokens of 1280 channels through 32 blocks.

    Attributes:
        img_size: height and width of the backbone's input, pixels.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0; training only.
        use_checkpoint: recompute the blocks in the backward pass to save memory; training only.
        stem: `patches` projects each patch, as published; `conv` is a few 3x3 convolutions of stride 2.
    """

    img_size: tuple[int, int] = (256, 192)
    patch_size: int = 16
    patch_padding: int = 2
    embed_dim: int = 1280
    depth: int = 32
    num_heads: int = 16
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    drop_path_rate: float = 0.55
    use_checkpoint: bool = False
    stem: str = PATCHES

    def __post_init__(self) -> None:
        expect_within("depth", self.depth, 1, MAX_LAYERS)
        expect_within("patch_size", self.patch_size, 1, MAX_SIDE_PX)
        expect_within("patch_padding", self.patch_padding, 0, self.patch_size)
        expect_within("embed_dim", self.embed_dim, 1, MAX_CHANNELS)
        expect_within("num_heads", self.num_heads, 1, self.embed_dim)
        for side in self.img_size:
            expect_within("img_size", side, 1, MAX_SIDE_PX)
        expect_within("mlp_ratio", self.mlp_ratio, 1 / self.embed_dim, MAX_MLP_RATIO)
        if min(self.grid) < 1:
            raise ConfigError(
                f"a backbone needs at least one patch along height and width, but img_size {self.img_size} "
                f"is smaller than patch_size {self.patch_size}."
            )
        expect_within("patches (img_size over patch_size)", math.prod(self.grid), 1, MAX_PATCHES)
        self._check_stem()
        if self.embed_dim % self.num_heads:
            raise ConfigError(
                f"embed_dim {self.embed_dim} cannot be divided into {self.num_heads} heads of equal width."
            )
        if not 0 <= self.drop_path_rate < 1:
            raise ConfigError(f"drop_path_rate must be in [0, 1), found {self.drop_path_rate}.")

    def _check_stem(self) -> None:
        if self.stem not in (PATCHES, CONV_STEM):
            raise ConfigError(f"stem is {brief(self.stem)}: use {PATCHES!r} or {CONV_STEM!r}.")
        size = self.patch_size
        halves = size > 1 and size & (size - 1) == 0 and self.patch_padding <= (size - 1) // 2
        if self.stem == CONV_STEM and not (halves and self.grid == tuple(n / size for n in self.img_size)):
            raise ConfigError(
                f"stem {CONV_STEM!r} halves the picture until one token is left of each patch, so patch_size "
                f"must be a power of two, divide img_size, and be more than twice patch_padding; found "
                f"patch_size {size}, img_size {self.img_size} and patch_padding {self.patch_padding}."
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Patch tokens along height and width."""
        height, width = (
            (side + 2 * self.patch_padding - self.patch_size) // self.patch_size + 1 for side in self.img_size
        )
        return height, width


@dataclass(frozen=True)
class ModelConfig:
    """The configuration of a whole model; a subclass adds its sizes as fields, with the published values as
    defaults.
    """

    MODEL: ClassVar[str] = ""
    """The model's name in messages."""

    @classmethod
    def key(cls) -> str:
        """The model's name in our YAML files: `smplest_x` is SMPLest-X."""
        return cls.MODEL.lower().replace("-", "_")

    @classmethod
    def official(cls) -> Self:
        """Return the published model."""
        return cls()

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], source: str = "configuration") -> Self:
        """Read our own layout: the field names of the class.

        Raises:
            ConfigError: a field is unknown, a value has the wrong type, or it is another model's
                configuration.
        """
        model = content.get("model", cls.key())
        if model != cls.key():
            raise ConfigError(f"{source} is for model {brief(model)}, but {cls.MODEL} needs {cls.key()!r}.")
        return build(cls, {k: v for k, v in content.items() if k != "model"}, source)

    @classmethod
    def from_yaml(cls, path: Path | str) -> Self:
        """Read a YAML file in a layout that `from_dict` reads.

        Raises:
            MissingAssetError: the file does not exist.
            ConfigError: the file is not a YAML mapping; also as in `from_dict`.
        """
        hint = (
            "It gives the sizes of the model: name the checkpoint's model_config.yaml, or a copy of the file "
            "beside the bundled weights (weights/*.yaml in the model's folder) with your sizes."
        )
        return cls.from_dict(read_yaml(path, hint), str(path))

    def for_inference(self) -> Self:
        """Return the same configuration without the parts that only training needs."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for YAML, which `from_dict` reads back."""
        return {"model": self.key(), **plain(asdict(self))}


@dataclass(frozen=True)
class HandConfig(ModelConfig):
    """The configuration of a hand model. The defaults are the published values.

    Attributes:
        image_size: side of the square network input, pixels; the model removes equal numbers of columns on
            the left and right until `backbone.img_size` is left.
        image_mean, image_std: RGB normalisation of the input, for values in 0..1; only the published values
            are accepted.
        focal_length_px: focal length for the `image_size` crop; only the published value is accepted.
        with_discriminator: also build the pose discriminator (only for adversarial training).
    """

    image_size: int = 256
    image_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    image_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    focal_length_px: float = 5000.0
    with_discriminator: bool = False
    backbone: ViTConfig = field(default_factory=ViTConfig)

    def __post_init__(self) -> None:
        for key in ("image_mean", "image_std", "focal_length_px"):
            expect_published(key, getattr(self, key), HandConfig.__dataclass_fields__[key].default)
        height, width = self.backbone.img_size
        if height != self.image_size or width > self.image_size or (self.image_size - width) % 2:
            raise ConfigError(
                f"a backbone for {height}x{width} pixels does not fit into the middle of a square input of "
                f"{self.image_size} pixels: the heights must be equal and the difference of widths even."
            )

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], source: str = "configuration") -> Self:
        """Read either layout: ours (the field names above) or the published one (with a `MODEL` section).

        Raises:
            ConfigError: as in `ModelConfig.from_dict`; or it describes a variant of the published model that
                is not supported.
        """
        if "MODEL" in content:
            return build(cls, cls.official_fields(content, source), source)
        return super().from_dict(content, source)

    def for_inference(self) -> Self:
        """Return the same configuration without a discriminator."""
        return replace(self, with_discriminator=False)

    @classmethod
    def official_fields(cls, content: Mapping[str, Any], source: str) -> dict[str, Any]:
        """Our fields that all hand models have, from the published layout.

        Raises:
            ConfigError: a section is missing, or has values that no published weights have.
        """
        model = section(content, "MODEL", source, cls.MODEL)
        backbone = section(model, "BACKBONE", source, cls.MODEL)
        expect(source, "MODEL.BACKBONE.TYPE", backbone.get("TYPE", "vit"), "vit")
        size = model.get("IMAGE_SIZE", 256)
        if size != 256:
            raise ConfigError(
                f"{source}: MODEL.IMAGE_SIZE is {brief(size)}, but the published layout can only describe "
                "the ViT-H for 256 pixels. For other sizes use a file in this package's own layout (see "
                f"{cls.__name__}.to_dict)."
            )
        shape = model.get("BBOX_SHAPE") or BBOX_SHAPE
        expect(source, "MODEL.BBOX_SHAPE", list(shape) if isinstance(shape, tuple) else shape, BBOX_SHAPE)
        extra = section(content, "EXTRA", source, cls.MODEL) if content.get("EXTRA") else {}
        fields_: dict[str, Any] = {"focal_length_px": extra.get("FOCAL_LENGTH", 5000)}
        for ours, theirs in (("image_mean", "IMAGE_MEAN"), ("image_std", "IMAGE_STD")):
            if theirs in model:
                fields_[ours] = model[theirs]
        return fields_
