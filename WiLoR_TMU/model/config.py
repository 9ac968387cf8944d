"""What a WiLoR looks like: sizes as frozen dataclasses, read from our YAML or from the published one."""

from dataclasses import dataclass
from typing import ClassVar

from shared_tmu.errors import ConfigError
from shared_tmu.models.config import HandConfig
from shared_tmu.models.fields import expect_within


@dataclass(frozen=True)
class WiLoRConfig(HandConfig):
    """A whole model. The defaults are the published WiLoR: ViT-H, 18 + 192 tokens, refinement at 3 scales.

    The published layout describes a decoder under `MODEL.MANO_HEAD`, which WiLoR has not; it is not read.

    Attributes:
        refine_scales: maps that the refinement net reads: the patch grid, and each next one twice as fine
            with half the channels.
    """

    refine_scales: int = 3

    MODEL: ClassVar[str] = "WiLoR"

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_within("refine_scales", self.refine_scales, 1, 16)
        if self.backbone.embed_dim % 2**self.refine_scales:
            raise ConfigError(
                f"a refinement at {self.refine_scales} scales halves {self.backbone.embed_dim} channels as "
                "often: use at least one scale, and a backbone whose embed_dim can be halved so many times."
            )
        if min(self.backbone.grid) < 2:
            raise ConfigError(
                f"the refinement samples between cells of a patch grid; {self.backbone.grid} has too few: "
                "use an img_size of at least two patches each way."
            )
