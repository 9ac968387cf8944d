"""WiLoR: a hand crop in, a MANO hand and a camera out, estimated from task tokens and then refined.

Source: Potamias et al. 2025, WiLoR, arXiv:2409.12259.
"""

from torch import Tensor

from shared_tmu.body_models.mano import ManoModel, MeanParams
from shared_tmu.models.hand import HandModel, HandOutput, mano_params
from wilor_tmu.model.config import WiLoRConfig
from wilor_tmu.model.refine import RefineNet
from wilor_tmu.model.vit import TaskTokenViT


class WiLoR(HandModel):
    """The model; builds from sizes and arrays alone, reads no file. See `HandModel` for what goes in and out.

    Args:
        config: sizes; `WiLoRConfig.official()` is the published model.
        mano: the right-hand body model.
        mean_params: where predictions start before training; checkpoints carry their own.
    """

    backbone: TaskTokenViT
    reads_grid = True  # the refinement looks at places of the feature map

    def __init__(self, config: WiLoRConfig, mano: ManoModel, mean_params: MeanParams | None = None) -> None:
        super().__init__(config, mano, TaskTokenViT(config.backbone, mean_params))
        self.refine_net = RefineNet(config.backbone.embed_dim, config.refine_scales, config.focal_length_px)

    def predict(self, tokens: Tensor) -> HandOutput:
        """Turn task and image tokens `[B, 18 + P, C]` into the output dictionary of `forward`.

        Raises:
            InputError: the image tokens are not a full grid, which the refinement needs.
        """
        feature_map = self.backbone.feature_map(tokens)
        pose, betas, camera = self.backbone.decode(tokens)
        first = self.mano(**mano_params(pose, betas))
        changes = self.refine_net(feature_map, first.vertices, camera)
        pose, betas, camera = (x + change for x, change in zip((pose, betas, camera), changes, strict=True))
        return self.assemble(mano_params(pose, betas), camera)
