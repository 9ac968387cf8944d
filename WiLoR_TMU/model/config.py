"""The configuration of WiLoR: sizes as frozen dataclasses, read from our YAML or from the published one."""

from dataclasses import dataclass
from typing import ClassVar

from shared_tmu.errors import ConfigError
from shared_tmu.models.config import HandConfig
from shared_tmu.models.fields import expect_within


@dataclass(frozen=True)
class WiLoRConfig(HandConfig):
    """The configuration of a whole model. The defaults are the published WiLoR: ViT-H, 18 + 192 tokens,
    refinement at 3 scales.

    The published layout describes a decoder under `MODEL.MANO_HEAD`, which WiLoR does not have; this section
    is ignored.

    Attributes:
        refine_scales: number of maps that the refinement net reads: the patch grid, then maps that are each
            twice as fine with half the channels.
    """

    refine_scales: int = 3

    MODEL: ClassVar[str] = "WiLoR"

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_within("refine_scales", self.refine_scales, 1, 16)
        if self.backbone.embed_dim % 2**self.refine_scales:
            raise ConfigError(
                f"a refinement at {self.refine_scales} scales halves the {self.backbone.embed_dim} channels "
                f"{self.refine_scales} times: use at least one scale, and a backbone whose embed_dim can be "
                "halved that often."
            )
        if min(self.backbone.grid) < 2:
            raise ConfigError(
                f"the refinement interpolates between cells of the patch grid, and {self.backbone.grid} has "
                "too few: use an img_size of at least two patches in height and width."
            )
