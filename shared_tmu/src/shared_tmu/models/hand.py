"""What HaMeR and WiLoR have in common: input crop, backbone, MANO, output cameras."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from shared_tmu.body_models.mano import ManoModel, MeanParams
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.errors import BodyModelError, InputError
from shared_tmu.models.config import HandConfig
from shared_tmu.models.discriminator import Discriminator
from shared_tmu.models.stem import check_pixels
from shared_tmu.models.vit import ViT
from shared_tmu.pictures.geometry import project_points, rot6d_to_rotmat, weak_camera_to_translation

NUM_JOINTS, NUM_BETAS, NUM_CAMERA = 16, 10, 3
NUM_POSE = 6 * NUM_JOINTS

HandOutput = dict[str, Tensor | dict[str, Tensor]]


class HandModel(nn.Module, ABC):
    """A backbone and a body model; a subclass converts tokens into rotations, shape and camera in `predict`.

    Always predicts a right hand: crops of left hands are mirrored before prediction, and results afterwards
    (`shared_tmu.pictures.geometry.mirror_*`). Works in half and double precision without autocast;
    predictions are in at least float32. Reads no file.

    Args:
        config: sizes; `official()` of its class is the published model.
        mano: the right-hand body model.
        backbone: the ViT.
    """

    initialized: Tensor

    def __init__(self, config: HandConfig, mano: ManoModel, backbone: ViT) -> None:
        super().__init__()
        if mano.side != "right":
            raise BodyModelError(
                f"{config.MODEL} predicts right hands, but the body model is a left hand: pass "
                "`mano.mirrored()`."
            )
        self.config: Any = config
        self.backbone = backbone
        if config.with_discriminator:
            self.discriminator = Discriminator()
        self.mano = ManoLayer(mano)
        self.register_buffer("initialized", torch.tensor(False))

    def forward(self, batch: Mapping[str, Tensor]) -> HandOutput:
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
            InputError: the images have another shape, or are whole numbers, such as uint8.
        """
        return self.predict(self.encode(batch["img"]))

    def encode(self, img: Tensor) -> Tensor:
        """Run the backbone on crops `[B, 3, S, S]`, or on their middle columns, which are the backbone's
        input.

        Returns:
            Tokens `[B, N, C]`, after the last norm.
        """
        size, width = self.config.image_size, self.config.backbone.img_size[1]
        if img.ndim != 4 or tuple(img.shape[1:3]) != (3, size) or img.shape[3] not in (size, width):
            raise InputError(
                f"{self.config.MODEL} expects images [B, 3, {size}, {size}], found {list(img.shape)}."
            )
        check_pixels(
            img, self.config.MODEL, "normalised pixels (scaled to 0..1, less the mean, over the deviation)"
        )
        tokens: Tensor = self.backbone(self.seen(img).to(self.backbone.pos_embed.dtype))
        return tokens

    def seen(self, crop: Tensor) -> Tensor:
        """The middle columns of crops or masks `[..., S, S]`: only these are the backbone's input."""
        width = self.config.backbone.img_size[1]
        start = (crop.shape[-1] - width) // 2
        return crop[..., start : start + width]

    @abstractmethod
    def predict(self, tokens: Tensor) -> HandOutput:
        """Convert the backbone's tokens `[B, N, C]` into the output dictionary of `forward`."""

    def assemble(self, params: dict[str, Tensor], camera: Tensor) -> HandOutput:
        """The output dictionary of `forward` from MANO parameters and the camera `[B, 3]`."""
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


def mano_params(pose: Tensor, betas: Tensor) -> dict[str, Tensor]:
    """MANO's arguments from 16 rotations in 6D `[B, 96]`, the wrist first, and shape `[B, 10]`.

    Returns:
        `global_orient` `[B, 1, 3, 3]`, `hand_pose` `[B, 15, 3, 3]`, `betas` `[B, 10]`.
    """
    rotmat = rot6d_to_rotmat(pose.reshape(-1, NUM_JOINTS, 6))
    return {"global_orient": rotmat[:, :1], "hand_pose": rotmat[:, 1:], "betas": betas}


def register_mean_params(module: nn.Module, mean_params: MeanParams | None) -> None:
    """Give a module the buffers `init_hand_pose` `[1, 96]`, `init_betas` `[1, 10]`, `init_cam` `[1, 3]`.

    Args:
        module: adds its predictions to these buffers.
        mean_params: values that an untrained model predicts; None for a hand at rest.
    """
    if mean_params is None:
        pose, betas = torch.tensor([[1.0, 0, 0, 0, 1, 0] * NUM_JOINTS]), torch.zeros(1, NUM_BETAS)
        camera = torch.tensor([[0.9, 0.0, 0.0]])
    else:
        pose, betas, camera = (
            torch.tensor(x)[None] for x in (mean_params.pose, mean_params.shape, mean_params.cam)
        )
    module.register_buffer("init_hand_pose", pose)
    module.register_buffer("init_betas", betas)
    module.register_buffer("init_cam", camera)


def start_near_mean(*decoders: nn.Linear) -> None:
    """Initialise the last layers so that an untrained model predicts close to the mean hand."""
    for decoder in decoders:
        nn.init.xavier_uniform_(decoder.weight, gain=0.01)
        nn.init.zeros_(decoder.bias)


def widened(x: Tensor) -> Tensor:
    """Convert half precision to float32: rotations and cameras need more precision than tokens."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
