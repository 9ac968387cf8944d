"""HaMeR: a hand crop in, a MANO hand and a camera out.

Source: Pavlakos et al. 2024, Reconstructing Hands in 3D with Transformers, arXiv:2312.05251.
"""

from torch import Tensor

from hamer_tmu.model.config import HaMeRConfig
from hamer_tmu.model.head import ManoHead
from shared_tmu.body_models.mano import ManoModel, MeanParams
from shared_tmu.models.hand import HandModel, HandOutput
from shared_tmu.models.vit import ViT


class HaMeR(HandModel):
    """The model; builds from sizes and arrays alone, reads no file. See `HandModel` for what goes in and out.

    Args:
        config: sizes; `HaMeRConfig.official()` is the published model.
        mano: the right-hand body model.
        mean_params: where predictions start before training; checkpoints carry their own.
    """

    def __init__(self, config: HaMeRConfig, mano: ManoModel, mean_params: MeanParams | None = None) -> None:
        super().__init__(config, mano, ViT(config.backbone))
        self.mano_head = ManoHead(config.decoder, mean_params)

    def predict(self, tokens: Tensor) -> HandOutput:
        """Turn tokens `[B, N, C]`, or a map `[B, C, h, w]`, into the output dictionary of `forward`."""
        params, camera = self.mano_head(tokens)
        return self.assemble(params, camera)
