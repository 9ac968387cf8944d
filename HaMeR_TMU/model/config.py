"""The configuration of HaMeR: sizes as frozen dataclasses, read from our YAML or from the published one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from shared_tmu.errors import ConfigError
from shared_tmu.models.config import HandConfig
from shared_tmu.models.decoder import DecoderConfig
from shared_tmu.models.fields import expect, section


@dataclass(frozen=True)
class HaMeRConfig(HandConfig):
    """The configuration of a whole model. The defaults are the published HaMeR: ViT-H, 192 tokens, a 6-layer
    decoder.
    """

    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    MODEL: ClassVar[str] = "HaMeR"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decoder.context_dim != self.backbone.embed_dim:
            raise ConfigError(
                f"the decoder's context_dim is {self.decoder.context_dim}, but the backbone has "
                f"{self.backbone.embed_dim} channels: the two must be equal."
            )

    @classmethod
    def official_fields(cls, content: Mapping[str, Any], source: str) -> dict[str, Any]:
        """Our fields from the published layout; see `HandConfig.official_fields`."""
        model = section(content, "MODEL", source, cls.MODEL)
        head = section(model, "MANO_HEAD", source, cls.MODEL)
        arguments = dict(section(head, "TRANSFORMER_DECODER", source, cls.MODEL))
        expect(source, "MODEL.MANO_HEAD.TYPE", head.get("TYPE", "transformer_decoder"), "transformer_decoder")
        expect(source, "MODEL.MANO_HEAD.TRANSFORMER_INPUT", head.get("TRANSFORMER_INPUT", "zero"), "zero")
        expect(source, "MODEL.MANO_HEAD.JOINT_REP", head.get("JOINT_REP", "6d"), "6d")
        expect(source, "MODEL.MANO_HEAD.IEF_ITERS", head.get("IEF_ITERS", 1), 1)
        expect(source, "MODEL.MANO_HEAD.TRANSFORMER_DECODER.norm", arguments.pop("norm", "layer"), "layer")
        return super().official_fields(content, source) | {"decoder": arguments}
