"""The configuration of SMPLest-X: sizes as frozen dataclasses, read from our YAML."""

from dataclasses import dataclass, field
from typing import ClassVar

from shared_tmu.errors import ConfigError
from shared_tmu.models.config import (
    MAX_CHANNELS,
    MAX_SIDE_PX,
    ModelConfig,
    ViTConfig,
)
from shared_tmu.models.decoder import DecoderConfig
from shared_tmu.models.fields import expect_published, expect_within


@dataclass(frozen=True)
class BodyDecoderConfig(DecoderConfig):
    """The decoder. Its queries are the encoder's tokens, so `dim` and `context_dim` are the encoder's width.

    Attributes:
        dim_out: channels per task token that the last layers read.
    """

    mlp_dim: int = 1280
    dim: int = 1280
    dim_out: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_within("dim_out", self.dim_out, 1, MAX_CHANNELS)


@dataclass(frozen=True)
class SMPLestXConfig(ModelConfig):
    """The configuration of a whole model. The defaults are the published SMPLest-X: ViT-H, 80 task and 192
    patch tokens.

    The published configuration is a Python program, which is not executed: sizes come from YAML in our
    layout.

    Attributes:
        encoder: the ViT; `img_size` is the size of its input.
        decoder: the transformer after it.
        crop_scale: ratio of a published crop's size to `encoder.img_size`; the model uses every
            `crop_scale`-th row and column of such a crop.
        focal_px: focal length (x, y) for a picture of `encoder.img_size`; the middle of the picture is the
            principal point.
        camera_3d_size_m: extent of the space in front of the camera; together with the focal length it limits
            the predicted distance.
        heatmap_shape: depth, height and width of the published model's heat maps, the units of projected
            joints.
        bbox_ratio: factor by which a person's box is enlarged before cropping, in demo.py and in eval.py.
    """

    encoder: ViTConfig = field(default_factory=ViTConfig)
    decoder: BodyDecoderConfig = field(default_factory=BodyDecoderConfig)
    crop_scale: int = 2
    focal_px: tuple[float, float] = (5000.0, 5000.0)
    camera_3d_size_m: float = 2.5
    heatmap_shape: tuple[int, int, int] = (16, 16, 12)
    bbox_ratio: float = 1.2

    MODEL: ClassVar[str] = "SMPLest-X"

    def __post_init__(self) -> None:
        widths = {self.encoder.embed_dim, self.decoder.dim, self.decoder.context_dim}
        if len(widths) > 1:
            raise ConfigError(
                f"the decoder's context_dim is {self.decoder.context_dim}, its dim is {self.decoder.dim}, "
                f"and the encoder's embed_dim is {self.encoder.embed_dim}: all three must be equal."
            )
        expect_within("crop_scale", self.crop_scale, 1, 16)
        for size in self.heatmap_shape:
            expect_within("heatmap_shape", size, 1, MAX_SIDE_PX)
        expect_published("focal_px", self.focal_px, SMPLestXConfig.focal_px)
        expect_within("bbox_ratio", self.bbox_ratio, 0.5, 4)
        expect_within("camera_3d_size_m", self.camera_3d_size_m, 1e-3, 1e3)

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of a published crop, pixels: 512 x 384."""
        height, width = self.encoder.img_size
        return self.crop_scale * height, self.crop_scale * width

    @property
    def princpt_px(self) -> tuple[float, float]:
        """Principal point (x, y) of a picture of `encoder.img_size`: its middle."""
        height, width = self.encoder.img_size
        return width / 2, height / 2
