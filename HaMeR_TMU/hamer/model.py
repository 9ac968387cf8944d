"""HaMeR: a hand crop in, a MANO hand and a camera out.

Source: Pavlakos et al. 2024, Reconstructing Hands in 3D with Transformers, arXiv:2312.05251.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hamer.config import HaMeRConfig
from hamer.discriminator import Discriminator
from hamer.head import ManoHead
from hamer.vit import ViT
from shared_tmu.body_models.mano import ManoModel, MeanParams
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.errors import BodyModelError, InputError
from shared_tmu.geometry import project_points, weak_camera_to_translation


class HaMeR(nn.Module):
    """The model; builds from sizes and arrays alone, reads no file.

    Always predicts a right hand: crops of left hands are mirrored before, results after
    (`shared_tmu.geometry.mirror_*`). Works in half and double precision without autocast; predictions leave
    the head in at least float32.

    Args:
        config: sizes; `HaMeRConfig.official()` is the published model.
        mano: the right-hand body model.
        mean_params: where predictions start before training; checkpoints carry their own.
    """

    initialized: Tensor

    def __init__(self, config: HaMeRConfig, mano: ManoModel, mean_params: MeanParams | None = None) -> None:
        super().__init__()
        if mano.side != "right":
            raise BodyModelError(
                "HaMeR predicts right hands, found a left-hand model: pass `mano.mirrored()`."
            )
        self.config = config
        self.backbone = ViT(config.backbone)
        self.mano_head = ManoHead(config.decoder, mean_params)
        if config.with_discriminator:
            self.discriminator = Discriminator()
        self.mano = ManoLayer(mano)
        self.register_buffer("initialized", torch.tensor(False))

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor | dict[str, Tensor]]:
        """Predict hands.

        Args:
            batch: `img`, normalised RGB crops `[B, 3, S, S]` with S = `config.image_size`; other keys are
                ignored.

        Returns:
            `pred_cam` `[B, 3]` (s, tx, ty); `pred_mano_params` with `global_orient` `[B, 1, 3, 3]`,
            `hand_pose` `[B, 15, 3, 3]`, `betas` `[B, 10]`; `pred_cam_t` `[B, 3]`, the crop camera's
            translation in metres; `focal_length` `[B, 2]`, pixels; `pred_keypoints_3d` `[B, 21, 3]` and
            `pred_vertices` `[B, 778, 3]`, metres; `pred_keypoints_2d` `[B, 21, 2]`, in crops: the crop spans
            -0.5..0.5.

        Raises:
            InputError: the images have another shape.
        """
        return self.predict(self.encode(batch["img"]))

    def encode(self, img: Tensor) -> Tensor:
        """Run the backbone on crops `[B, 3, S, S]`, or on their middle columns as the backbone sees them.

        Returns:
            Tokens `[B, N, C]`, after the last norm.
        """
        size, width = self.config.image_size, self.config.backbone.img_size[1]
        if img.ndim != 4 or tuple(img.shape[1:3]) != (3, size) or img.shape[3] not in (size, width):
            raise InputError(f"HaMeR takes images [B, 3, {size}, {size}], found {list(img.shape)}.")
        start = (img.shape[3] - width) // 2
        dtype = self.backbone.pos_embed.dtype
        return self.backbone(img[..., start : start + width].to(dtype))

    def predict(self, tokens: Tensor) -> dict[str, Tensor | dict[str, Tensor]]:
        """Turn tokens `[B, N, C]`, or a map `[B, C, h, w]`, into the output dictionary of `forward`."""
        params, camera = self.mano_head(tokens)
        hand = self.mano(**params)
        focal, size = self.config.focal_length_px, self.config.image_size
        translation = weak_camera_to_translation(camera, focal, size)
        focal_length = torch.full((camera.shape[0], 2), focal, dtype=camera.dtype, device=camera.device)
        return {
            "pred_cam": camera,
            "pred_mano_params": params,
            "pred_cam_t": translation,
            "focal_length": focal_length,
            "pred_keypoints_3d": hand.keypoints,
            "pred_vertices": hand.vertices,
            "pred_keypoints_2d": project_points(hand.keypoints, translation, focal_length / size),
        }
