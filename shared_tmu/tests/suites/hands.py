"""A hand folder as the suites see it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from shared_tmu.body_models import ManoModel, load_mano
from shared_tmu.models.config import HandConfig
from shared_tmu.models.hand import HandModel

from .folders import ModelFolder

MANO_PICKLE = Path(__file__).parents[1] / "golden" / "mano" / "standin_official_layout.pkl"
PARAMETERS = ("global_orient", "hand_pose", "betas")


@dataclass(frozen=True)
class HandFolder(ModelFolder):
    """A model folder for hands.

    Attributes:
        case_fields: the case's description to our configuration's fields beyond `backbone`.
        micro_fields: those fields for the smallest model, whose backbone is this wide.
        official: the published configuration file's content.
    """

    case_fields: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda content: {}
    micro_fields: Callable[[int], dict[str, Any]] = lambda width: {}
    official: Any = None

    PART = "backbone"
    BODY = "mano."
    BUNDLED_BODY = "SynthHand"
    BODY_FLAG = "--mano_path"
    BODY_FILE = "MANO_RIGHT.pkl"
    HALF = {torch.float16: 3e-3, torch.bfloat16: 1.5e-2}  # noqa: RUF012
    SET, SET_FILE = "freihand", "evaluation_xyz.json"
    SHAPES = {"pred_vertices": (778, 3), "pred_keypoints_2d": (21, 2), "pred_cam": (3,)}  # noqa: RUF012
    RECORDED = frozenset(
        {
            "pred_cam", "pred_cam_t", "focal_length", "pred_keypoints_3d", "pred_vertices",
            "pred_keypoints_2d", *PARAMETERS, "features",
        }
    )  # fmt: skip

    def case_config(self, case: str, **changes: Any) -> HandConfig:
        content = self.description(case)
        parts = {"image_size": content["image_size"], "backbone": content["backbone"]}
        return self.config.from_dict(parts | self.case_fields(content) | changes)

    def sized(
        self, width: int, height: int = 256, columns: int = 192, depth: int = 1, heads: int = 2
    ) -> HandConfig:
        backbone = {
            "img_size": [height, columns], "embed_dim": width, "depth": depth, "num_heads": heads,
            "mlp_ratio": 2, "drop_path_rate": 0.0,
        }  # fmt: skip
        return self.config.from_dict({"image_size": height, "backbone": backbone, **self.micro_fields(width)})

    def training_sizes(self) -> dict[str, Any]:
        sizes = {"embed_dim": 24, "num_heads": 2, "mlp_ratio": 2, "drop_path_rate": 0.0}
        return {"backbone": sizes, **self.micro_fields(24)}

    def tiny(self, depth: int) -> Any:
        torch.manual_seed(0)
        model = self.build(self.sized(16, depth=depth), load_mano())
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("deccam.bias"):
                    parameter[0] += 5.0
        return model.eval()

    def images(self, count: int, height: int = 256, columns: int = 192) -> Tensor:
        return torch.randn(count, 3, height, height, generator=torch.Generator().manual_seed(1))

    def standin(self) -> ManoModel:
        return mano_standin()

    def bundled_body(self) -> ManoModel:
        return load_mano()

    def write_body(self, folder: Path) -> Path:
        return MANO_PICKLE

    def write_set(self, root: Path, count: int) -> tuple[Any, ...]:
        folder = root / "FreiHAND_pub_v2_eval"
        images = folder / "evaluation" / "rgb"
        images.mkdir(parents=True)
        rng, mano = np.random.default_rng(0), load_mano()
        verts = np.stack([mano.v_template + np.array([0, 0, 0.6 + 0.01 * i]) for i in range(count)])
        joints = np.stack([mano.J_regressor @ v for v in verts])
        xyz = np.concatenate([joints, verts[:, [744, 320, 443, 554, 671]]], axis=1)
        camera = [[480.0, 0, 112], [0, 480, 112], [0, 0, 1]]
        for i in range(count):
            picture = rng.integers(0, 256, (28, 28, 3), dtype=np.uint8)
            cv2.imwrite(str(images / f"{i:08d}.jpg"), cv2.resize(picture, (224, 224)))
        for name, values in (("K", [camera] * count), ("xyz", xyz.tolist()), ("verts", verts.tolist())):
            (folder / f"evaluation_{name}.json").write_text(json.dumps(values))
        return ()

    def container(self, weights: Mapping[str, Tensor], **extra: Any) -> dict[str, Any]:
        return {"state_dict": dict(weights), "epoch": 40, "pytorch-lightning_version": "1.8.1", **extra}

    def run(self, model: HandModel, img: Tensor) -> dict[str, Tensor]:
        return run(model, img)


def mano_standin() -> ManoModel:
    """A random hand in MANO's layout."""
    return load_mano(MANO_PICKLE)


def run(model: HandModel, img: Tensor) -> dict[str, Tensor]:
    """Everything the model says, flat, with its tokens."""
    with torch.no_grad():
        features = model.encode(img)
        out: dict[str, Any] = dict(model({"img": img}))
    params = out.pop("pred_mano_params")
    return {**out, **params, "features": features}
