"""SMPLest-X: maps a person's crop to an SMPL-X body with hands and face, and a camera.

Source: Yin et al. 2025, SMPLest-X, arXiv:2501.09782.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from shared_tmu.body_models.smplx_layer import SmplxLayer
from shared_tmu.body_models.smplx_model import KEYPOINT_PELVIS, SmplxModel
from shared_tmu.errors import InputError
from shared_tmu.models.config import ViTConfig
from shared_tmu.models.stem import check_pixels
from shared_tmu.models.vit import ViT
from smplest_x_tmu.model.config import SMPLestXConfig
from smplest_x_tmu.model.decoder import NUM_TASK_TOKENS, BodyDecoder
from smplest_x_tmu.model.geometry import (
    camera_translation,
    distance_scale_m,
    interleaved_rot6d_to_axis_angle,
    project_to_heatmap,
)


class TaskTokenViT(ViT):
    """The ViT with 80 learned task tokens before the patch tokens, the same for every image."""

    num_prefix_tokens = NUM_TASK_TOKENS

    def __init__(self, config: ViTConfig) -> None:
        super().__init__(config)
        self.task_tokens = nn.Parameter(torch.empty(1, NUM_TASK_TOKENS, config.embed_dim))
        nn.init.trunc_normal_(self.task_tokens, std=0.02)

    def task_tokens_for(self, batch_size: int) -> Tensor:
        """The task tokens, `[B, T, C]`."""
        return self.task_tokens.expand(batch_size, -1, -1)


class SMPLestX(nn.Module):
    """The model; it is built from sizes and arrays only and reads no file.

    Works in half and double precision without autocast; predictions leave the decoder in at least float32.

    Args:
        config: sizes; `SMPLestXConfig.official()` is the published model.
        body: the SMPL-X body model.
    """

    def __init__(self, config: SMPLestXConfig, body: SmplxModel) -> None:
        super().__init__()
        self.config = config
        self.encoder = TaskTokenViT(config.encoder)
        self.decoder = BodyDecoder(config.decoder)
        self.smplx_layer = SmplxLayer(body)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Predict people.

        Args:
            batch: `img`, RGB crops in 0..1 without further normalisation: `[B, 3, 512, 384]` as published, or
                every second row and column of that, `[B, 3, 256, 192]`, which is all that the model uses.
                Other keys are ignored.

        Returns:
            `smplx_mesh_cam` `[B, 10475, 3]`, metres, camera frame; `smplx_joint_cam` `[B, 137, 3]`, metres,
            relative to the pelvis, which is at `smplx_root_cam` `[B, 3]` (an addition to the published keys);
            `smplx_joint_proj` `[B, 137, 2]`, in units of the heat maps; axis-angle `smplx_root_pose` `[B,
            3]`, `smplx_body_pose` `[B, 63]`, `smplx_lhand_pose` and `smplx_rhand_pose` `[B, 45]` (the mean
            hand pose is added by the body model), `smplx_jaw_pose` `[B, 3]`; `smplx_shape` `[B, 10]`;
            `smplx_expr` `[B, 10]`; `cam_trans` `[B, 3]`, metres, included in the mesh; and `img`.

        Raises:
            InputError: the images have another shape, or are whole numbers, such as uint8.
        """
        return {"img": batch["img"], **self.predict(self.encode(batch["img"]))}

    def encode(self, img: Tensor) -> Tensor:
        """Run the encoder on crops of either size.

        Returns:
            Tokens `[B, T + P, C]`, task tokens first, after the last norm.
        """
        small, large = self.config.encoder.img_size, self.config.crop_size
        if img.ndim != 4 or img.shape[1] != 3 or tuple(img.shape[2:]) not in (small, large):
            sizes = " or ".join(f"[B, 3, {height}, {width}]" for height, width in (large, small))
            raise InputError(f"SMPLest-X expects images {sizes}, found {list(img.shape)}.")
        check_pixels(img, "SMPLest-X", "pixels in 0..1")
        return self.encoder(self.seen(img).to(self.encoder.pos_embed.dtype))

    def seen(self, crop: Tensor) -> Tensor:
        """The pixels of crops or masks `[..., h, w]` of either size that are the encoder's input."""
        is_large = tuple(crop.shape[-2:]) == tuple(self.config.crop_size)
        step = self.config.crop_scale if is_large else 1  # nearest-neighbour shrinking, as published
        return crop[..., ::step, ::step]

    def predict(self, tokens: Tensor) -> dict[str, Tensor]:
        """Convert the encoder's tokens `[B, T + P, C]` into the output dictionary of `forward`, without
        `img`.
        """
        return self.assemble(self.decoder(tokens))

    def assemble(self, decoded: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same dictionary, from the decoder's output."""
        params = self.body_params(decoded)
        body = self.smplx_layer(
            global_orient=params["smplx_root_pose"],
            body_pose=params["smplx_body_pose"],
            left_hand_pose=params["smplx_lhand_pose"],
            right_hand_pose=params["smplx_rhand_pose"],
            jaw_pose=params["smplx_jaw_pose"],
            betas=params["smplx_shape"],
            expression=params["smplx_expr"],
            transl=params["cam_trans"],
        )
        return {"smplx_mesh_cam": body.vertices, **params, **self.joint_outputs(body.keypoints)}

    def body_params(self, decoded: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """SMPL-X's arguments and the camera from the decoder's output; see `forward` for the shapes."""
        rotations = {
            "smplx_root_pose": "body_root_pose",
            "smplx_body_pose": "body_pose",
            "smplx_lhand_pose": "lhand_pose",
            "smplx_rhand_pose": "rhand_pose",
            "smplx_jaw_pose": "face_jaw_pose",
        }
        config = self.config
        scale_m = distance_scale_m(config.focal_px, config.camera_3d_size_m, config.encoder.img_size)
        return {
            **{ours: interleaved_rot6d_to_axis_angle(decoded[theirs]) for ours, theirs in rotations.items()},
            "smplx_shape": decoded["body_betas"],
            "smplx_expr": decoded["face_expression"],
            "cam_trans": camera_translation(decoded["body_cam"], scale_m),
        }

    def joint_outputs(self, keypoints: Tensor) -> dict[str, Tensor]:
        """Projected and pelvis-relative key points from those in the camera frame, `[B, 137, 3]` metres."""
        config = self.config
        projected = project_to_heatmap(
            keypoints, config.focal_px, config.princpt_px, config.encoder.img_size, config.heatmap_shape
        )
        root = keypoints[:, KEYPOINT_PELVIS]
        return {
            "smplx_joint_proj": projected,
            "smplx_joint_cam": keypoints - root[:, None],
            "smplx_root_cam": root,
        }
