"""A folder of a model of whole people as the suites see it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import trimesh
from smplx_standin import smplx_standin
from torch import Tensor

from shared_tmu.body_models import SmplxModel, load_smplx

from .folders import ModelFolder

PARTS = ("body_root_pose", "body_pose", "body_betas", "body_cam", "face_root_pose", "face_expression",
         "face_jaw_pose", "face_cam")  # fmt: skip
HANDS = ("root_pose", "pose", "cam")
PARAMETERS = {
    "smplx_root_pose": (3,), "smplx_body_pose": (63,), "smplx_lhand_pose": (45,), "smplx_rhand_pose": (45,),
    "smplx_jaw_pose": (3,), "smplx_shape": (10,), "smplx_expr": (10,), "cam_trans": (3,),
}  # fmt: skip


@dataclass(frozen=True)
class BodyFolder(ModelFolder):
    """A model folder for people: SMPLest-X's names and outputs."""

    PART = "encoder"
    BODY = "smplx_layer."
    BUNDLED_BODY = "SynthBody"
    BODY_FLAG = "--smplx_path"
    BODY_FILE = "SMPLX_NEUTRAL.npz"
    SET, SET_FILE = "ehf", "01_align.ply"
    HALF = {torch.float16: 5e-2, torch.bfloat16: 3e-1}  # noqa: RUF012
    LINE = ("pa_mpvpe_hand_mm", "pa_mpvpe_face_mm", "mpvpe_mm", "bbox_ratio", "boxes", "parts", "protect")
    SHAPES = {  # noqa: RUF012
        "smplx_mesh_cam": (10475, 3), **PARAMETERS, "smplx_joint_proj": (137, 2),
        "smplx_joint_cam": (137, 3), "smplx_root_cam": (3,),
    }  # fmt: skip
    RECORDED = frozenset(
        {
            "features", "decoder_tokens", *PARAMETERS, *(f"dec_{part}" for part in PARTS),
            *(f"dec_{side}_{kind}" for side in ("lhand", "rhand") for kind in HANDS),
        }
    )  # fmt: skip

    def case_config(self, case: str, **changes: Any) -> Any:
        content = self.description(case)
        unused = ("num_classes", "task_tokens_num", "ratio")
        encoder = {key: value for key, value in content["encoder"].items() if key not in unused}
        width = content["decoder"]["feat_dim"]
        decoder = {**content["decoder_arch"], "dim": width, "context_dim": width}
        decoder |= {"mlp_dim": content["decoder_mlp_dim"], "dim_out": content["decoder"]["dim_out"]}
        parts = {"encoder": encoder, "decoder": decoder, "focal_px": content["focal"]}
        parts |= {"camera_3d_size_m": content["camera_3d_size"], "heatmap_shape": content["output_hm_shape"]}
        config = self.config.from_dict(parts | changes)
        assert list(config.princpt_px) == content["princpt"]
        return config

    def sized(self, width: int, height: int = 256, columns: int = 192, depth: int = 1, heads: int = 2) -> Any:
        encoder = {
            "img_size": [height, columns], "embed_dim": width, "depth": depth, "num_heads": heads,
            "mlp_ratio": 2, "drop_path_rate": 0.0,
        }  # fmt: skip
        return self.config.from_dict({"encoder": encoder, "decoder": _decoder(width)})

    def training_sizes(self) -> dict[str, Any]:
        sizes = {"embed_dim": 24, "num_heads": 2, "mlp_ratio": 2, "drop_path_rate": 0.0}
        return {"encoder": sizes, "decoder": _decoder(24)}

    def tiny(self, depth: int) -> Any:
        torch.manual_seed(0)
        model = self.build(self.sized(16, depth=depth), load_smplx())
        with torch.no_grad():
            for name, parameter in model.decoder.named_parameters():
                if name.startswith("dec_") and name.endswith("weight"):
                    parameter.mul_(10.0)  # pictures must make a difference
        return model.eval()

    def boxes(self, entries: Any) -> Any:
        """People have no side."""
        return {name: [{"box_xyxy": entry["box_xyxy"]} for entry in found] for name, found in entries.items()}

    def images(self, count: int, height: int = 256, columns: int = 192) -> Tensor:
        return torch.rand(count, 3, height, columns, generator=torch.Generator().manual_seed(1))

    def standin(self) -> SmplxModel:
        return smplx_standin()

    def bundled_body(self) -> SmplxModel:
        return load_smplx()

    def write_body(self, folder: Path) -> Path:
        path = folder / self.BODY_FILE
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **smplx_standin().to_dict())
        return path

    def write_set(self, root: Path, count: int) -> tuple[Any, ...]:
        folder = root / "EHF"
        folder.mkdir()
        rng, body = np.random.default_rng(0), load_smplx()
        images, annotations = [], []
        for i in range(count):
            name = f"{i + 1:02d}_img.jpg"
            picture = rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / name), cv2.resize(picture, (200, 240)))
            mesh = trimesh.Trimesh(body.v_template * (1 + 0.05 * i), body.faces, process=False)
            (folder / f"{i + 1:02d}_align.ply").write_bytes(mesh.export(file_type="ply"))
            images.append({"id": i, "file_name": name, "height": 240, "width": 200})
            annotations.append({"id": i, "image_id": i, "body_bbox": [40, 10, 120, 220]})
        (folder / "EHF.json").write_text(json.dumps({"images": images, "annotations": annotations}))
        regressor = np.asarray(body.J_regressor[:14], np.float64)
        (folder / "SMPLX_to_J14.pkl").write_bytes(pickle.dumps(regressor, protocol=2))
        hands = {f"{side}_hand": np.arange(778) + i for i, side in enumerate(("left", "right"))}
        (folder / "MANO_SMPLX_vertex_ids.pkl").write_bytes(pickle.dumps(hands, protocol=2))
        np.save(folder / "SMPL-X__FLAME_vertex_ids.npy", np.arange(5023))
        np.savez_compressed(root / self.BODY_FILE, **body.to_dict())
        return ("--smplx_path", root / self.BODY_FILE)

    def container(self, weights: Mapping[str, Tensor], **extra: Any) -> dict[str, Any]:
        network = {f"module.{key}": value for key, value in weights.items()}
        return {"epoch": 3, "network": network, "optimizer": {"state": {}, "param_groups": []}, **extra}

    def run(self, model: Any, img: Tensor) -> dict[str, Tensor]:
        """Everything but vertices and joints, which `joint_outputs` and the body layer's own tests check."""
        with torch.no_grad():
            features = model.encode(img)
            task = model.decoder.task_features(features)
            decoded = model.decoder.read(task)
            params = model.body_params(decoded)
        raw = {f"dec_{name}": value for name, value in decoded.items()}
        return {"features": features, "decoder_tokens": task, **raw, **params}


@cache
def _decoder(width: int) -> dict[str, int]:
    sizes = {"depth": 1, "heads": 2, "dim_head": 8, "mlp_dim": 16, "dim_out": 4}
    return {**sizes, "dim": width, "context_dim": width}
