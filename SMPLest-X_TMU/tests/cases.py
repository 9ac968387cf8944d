"""The recorded cases: models, inputs, expected outputs."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from shared_tmu.body_models import SmplxModel
from shared_tmu.body_models.smplx_model import PARENTS
from smplest_x import SMPLestX, SMPLestXConfig

GOLDEN = Path(__file__).parent / "golden"
CASES = ("full_grid", "small_grid")
PREFIX = "module."


@cache
def body_standin() -> SmplxModel:
    """SMPL-X's tree on random points: what these tests need of a body."""
    rng = np.random.default_rng(0)
    regressor = np.zeros((55, 10475), np.float32)
    regressor[:, :55] = np.eye(55)
    weights = np.zeros((10475, 55), np.float32)
    weights[np.arange(10475), np.arange(10475) % 55] = 1
    third = np.float32(1 / 3)
    return SmplxModel.from_dict(
        {
            "v_template": rng.normal(0, 0.3, (10475, 3)).astype(np.float32),
            "f": rng.integers(0, 10475, (20908, 3)),
            "J_regressor": regressor,
            "weights": weights,
            "shapedirs": rng.normal(0, 0.01, (10475, 3, 20)).astype(np.float32),
            "posedirs": np.zeros((10475, 3, 486), np.float32),
            "hands_componentsl": np.eye(45, dtype=np.float32),
            "hands_componentsr": np.eye(45, dtype=np.float32),
            "hands_meanl": np.full(45, 0.1, np.float32),
            "hands_meanr": np.full(45, -0.1, np.float32),
            "kintree_table": np.stack((np.array(PARENTS), np.arange(55))).astype(np.uint32),
            "lmk_faces_idx": np.arange(51),
            "lmk_bary_coords": np.full((51, 3), third),
            "dynamic_lmk_faces_idx": np.arange(79 * 17).reshape(79, 17),
            "dynamic_lmk_bary_coords": np.full((79, 17, 3), third),
        }
    )


def description(case: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{case}.config.json").read_text())


def tensors(name: str) -> dict[str, Tensor]:
    return load_file(GOLDEN / f"{name}.safetensors")


def case_config(case: str, **changes: Any) -> SMPLestXConfig:
    content = description(case)
    unused = ("num_classes", "task_tokens_num", "ratio")
    encoder = {key: value for key, value in content["encoder"].items() if key not in unused}
    width = content["decoder"]["feat_dim"]
    decoder = {**content["decoder_arch"], "dim": width, "context_dim": width}
    decoder |= {"mlp_dim": content["decoder_mlp_dim"], "dim_out": content["decoder"]["dim_out"]}
    parts = {"encoder": encoder, "decoder": decoder, "focal_px": content["focal"]}
    parts |= {"camera_3d_size_m": content["camera_3d_size"], "heatmap_shape": content["output_hm_shape"]}
    config = SMPLestXConfig.from_dict(parts | changes)
    assert list(config.princpt_px) == content["princpt"]
    return config


def case_weights(case: str) -> dict[str, Tensor]:
    return {key.removeprefix(PREFIX): value for key, value in tensors(f"{case}.weights").items()}


def case_model(case: str, dtype: torch.dtype = torch.float32) -> SMPLestX:
    model = SMPLestX(case_config(case), body_standin()).to(dtype)
    found = model.load_state_dict(case_weights(case), strict=False)
    assert not found.unexpected_keys
    assert all(key.startswith("smplx_layer.") for key in found.missing_keys)
    return model.eval()


def schedules(case: str) -> list[dict[str, Any]]:
    return description(case)["schedules"]


def run(model: SMPLestX, img: Tensor) -> dict[str, Tensor]:
    """Everything the model says before the body model, flat, with its tokens and raw numbers."""
    with torch.no_grad():
        features = model.encode(img)
        task = model.decoder.task_features(features)
        decoded = model.decoder.read(task)
        params = model.body_params(decoded)
    raw = {f"dec_{name}": value for name, value in decoded.items()}
    return {"features": features, "decoder_tokens": task, **raw, **params}


def check(found: dict[str, Tensor], wanted: dict[str, Tensor], keys: set[str]) -> None:
    """Compare `keys`; both may hold more."""
    for key in keys:
        a, b = found[key], wanted[key]
        assert a.shape == b.shape, key
        worst = ((a - b).abs() / (1 + b.abs())).max().item()
        assert worst <= 5e-5, f"{key}: {worst:.1e}"
