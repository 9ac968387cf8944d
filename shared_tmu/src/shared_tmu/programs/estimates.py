"""What models estimate, a hand or a body: everything in which programs for the two differ, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared_tmu.body_models import load_mano, load_mean_params, load_smplx
from shared_tmu.errors import ConfigError
from shared_tmu.masks import PatchWindows, cover_tokens


@dataclass(frozen=True)
class Estimate:
    """What a model estimates: hands or bodies.

    Args:
        name: `"hand"` or `"body"`; decides which evaluation sets are available.
        one, many: the name in messages and tables, singular and plural.
        dataset: the evaluation set that is rendered on first use.
        calibration: the set for decisions, rendered on first use too; no picture of it is in `dataset`.
        body_flag: the flag for the body model's file.
        body_file: the usual name of that file.
        bundled: the body model that is used if no file is given.
        backbone: the attribute of models and configurations that holds the ViT.
        body_layer: the attribute of models that holds the body model.
        size: the entry of a configuration with the input size, one side or height and width.
        is_normalised: whether pictures have mean 0 and deviation 1, or are in 0..1.
        vertices: function from a model's output to its vertices `[B, V, 3]` in metres.
        joints: function from a model's output to its joints `[B, J, 3]` in metres, independent of the camera.
        load_bodies: loads the bundled body models, the arguments with which a model is built after its
            configuration.
    """

    name: str
    one: str
    many: str
    dataset: str
    calibration: str
    body_flag: str
    body_file: str
    bundled: str
    backbone: str
    body_layer: str
    size: str
    is_normalised: bool
    vertices: Callable[[Mapping[str, Any]], Tensor]
    joints: Callable[[Mapping[str, Any]], Tensor]
    load_bodies: Callable[[], tuple[Any, ...]]

    def vit(self, model: nn.Module) -> Any:
        """The ViT, which has `blocks`."""
        return getattr(model, self.backbone)

    def input_size(self, model: nn.Module) -> tuple[int, int]:
        """Height and width of the model's input, pixels.

        Raises:
            ConfigError: its configuration does not say.
        """
        size = _configured(model, self.size)
        height, width = (size, size) if isinstance(size, int) else size
        return int(height), int(width)

    def grid(self, model: nn.Module) -> tuple[int, int]:
        """Rows and columns of patches.

        Raises:
            ConfigError: its configuration does not say.
        """
        rows, columns = _configured(model, f"{self.backbone}.grid")
        return int(rows), int(columns)

    def cover(self, model: nn.Module, mask: Tensor) -> Tensor:
        """Which patch tokens cover a mask's foreground.

        Args:
            model: knows which pixels of a crop its ViT sees.
            mask: foreground pixels of the crops that the model gets, `[B, H, W]` bool.

        Returns:
            `[B, P]` bool.
        """
        seen: Any = getattr(model, "seen", None)
        mask = mask if seen is None else seen(mask)
        return cover_tokens(mask, PatchWindows.of(self.vit(model).patch_embed))

    def faces(self, model: nn.Module) -> NDArray[np.int64]:
        """Triangles of the mesh, `[F, 3]`."""
        return np.asarray(getattr(model, self.body_layer).faces).astype(np.int64)

    def crops(self, model: nn.Module, count: int) -> dict[str, Tensor]:
        """Random crops `[B, 3, h, w]` as `img`, on the CPU, in float32."""
        draws = torch.Generator().manual_seed(0)
        draw = torch.randn if self.is_normalised else torch.rand
        return {"img": draw(count, 3, *self.input_size(model), generator=draws)}


def _configured(model: nn.Module, name: str) -> Any:
    """A value in a model's configuration, by its dotted name.

    Raises:
        ConfigError: the configuration does not have it.
    """
    found: Any = model
    for part in ("config", *name.split(".")):
        if not hasattr(found, part):
            raise ConfigError(
                f"config.{name} is needed to cut crops and to draw tokens, and this {type(model).__name__} "
                "has none: add this field to the model's configuration."
            )
        found = getattr(found, part)
    return found


def hand_vertices(output: Mapping[str, Any]) -> Tensor:
    """Vertices `[B, 778, 3]` in metres of a hand model's output."""
    vertices: Tensor = output["pred_vertices"]
    return vertices


def body_vertices(output: Mapping[str, Any]) -> Tensor:
    """Vertices `[B, 10475, 3]` in metres of a body model's output, before its translation."""
    vertices: Tensor = output["smplx_mesh_cam"] - output["cam_trans"].unsqueeze(1)
    return vertices


HAND = Estimate(
    name="hand",
    one="hand",
    many="hands",
    dataset="synthhand",
    calibration="synthhand-calib",
    body_flag="--mano_path",
    body_file="MANO_RIGHT.pkl",
    bundled="the bundled hand",
    backbone="backbone",
    body_layer="mano",
    size="image_size",
    is_normalised=True,
    vertices=hand_vertices,
    joints=lambda output: output["pred_keypoints_3d"],
    load_bodies=lambda: (load_mano(), load_mean_params()),
)
BODY = Estimate(
    name="body",
    one="person",
    many="people",
    dataset="synthbody",
    calibration="synthbody-calib",
    body_flag="--smplx_path",
    body_file="SMPLX_NEUTRAL.npz",
    bundled="the bundled person",
    backbone="encoder",
    body_layer="smplx_layer",
    size="encoder.img_size",
    is_normalised=False,
    vertices=body_vertices,
    joints=lambda output: output["smplx_joint_cam"],
    load_bodies=lambda: (load_smplx(),),
)
