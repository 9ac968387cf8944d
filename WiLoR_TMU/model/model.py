"""WiLoR: maps a hand crop to a MANO hand and a camera, estimated from task tokens and then refined.

Source: Potamias et al. 2025, WiLoR, arXiv:2409.12259.
"""

from torch import Tensor

from shared_tmu.body_models.mano import ManoModel, MeanParams
from shared_tmu.models.hand import HandModel, HandOutput, mano_params
from wilor_tmu.model.config import WiLoRConfig
from wilor_tmu.model.refine import RefineNet
from wilor_tmu.model.vit import TaskTokenViT


class WiLoR(HandModel):
    """The model; it is built from sizes and arrays only and reads no file. See `HandModel` for inputs and
    outputs.

    Args:
        config: sizes; `WiLoRConfig.official()` is the published model.
        mano: the right-hand body model.
        mean_params: predictions of an untrained model; checkpoints contain their own.
    """

    backbone: TaskTokenViT
    reads_grid = True  # the refinement samples positions of the feature map

    def __init__(self, config: WiLoRConfig, mano: ManoModel, mean_params: MeanParams | None = None) -> None:
        super().__init__(config, mano, TaskTokenViT(config.backbone, mean_params))
        self.refine_net = RefineNet(config.backbone.embed_dim, config.refine_scales, config.focal_length_px)

    def predict(self, tokens: Tensor) -> HandOutput:
        """Convert task and image tokens `[B, 18 + P, C]` into the output dictionary of `forward`.

        Raises:
            InputError: the image tokens are not the full grid, which the refinement needs.
        """
        feature_map = self.backbone.feature_map(tokens)
        pose, betas, camera = self.backbone.decode(tokens)
        first = self.mano(**mano_params(pose, betas))
        changes = self.refine_net(feature_map, first.vertices, camera)
        pose, betas, camera = (x + change for x, change in zip((pose, betas, camera), changes, strict=True))
        return self.assemble(mano_params(pose, betas), camera)
