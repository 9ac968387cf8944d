"""HaMeR: maps a hand crop to a MANO hand and a camera.

Source: Pavlakos et al. 2024, Reconstructing Hands in 3D with Transformers, arXiv:2312.05251.
"""

from torch import Tensor

from hamer_tmu.model.config import HaMeRConfig
from hamer_tmu.model.head import ManoHead
from shared_tmu.body_models.mano import ManoModel, MeanParams
from shared_tmu.models.hand import HandModel, HandOutput
from shared_tmu.models.vit import ViT


class HaMeR(HandModel):
    """The model; it is built from sizes and arrays only and reads no file. See `HandModel` for inputs and
    outputs.

    Args:
        config: sizes; `HaMeRConfig.official()` is the published model.
        mano: the right-hand body model.
        mean_params: predictions of an untrained model; checkpoints contain their own.
    """

    def __init__(self, config: HaMeRConfig, mano: ManoModel, mean_params: MeanParams | None = None) -> None:
        super().__init__(config, mano, ViT(config.backbone))
        self.mano_head = ManoHead(config.decoder, mean_params)

    def predict(self, tokens: Tensor) -> HandOutput:
        """Convert tokens `[B, N, C]`, or a map `[B, C, h, w]`, into the output dictionary of `forward`."""
        params, camera = self.mano_head(tokens)
        return self.assemble(params, camera)
