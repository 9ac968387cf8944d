"""The recorded cases: models, inputs, expected outputs."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from hamer import HaMeR, HaMeRConfig
from shared_tmu.body_models import ManoModel, load_mano

GOLDEN = Path(__file__).parent / "golden"
MANO_PICKLE = (
    Path(__file__).parents[2] / "shared_tmu" / "tests" / "golden" / "mano" / "standin_official_layout.pkl"
)
CASES = ("full_grid", "small_grid")


def mano_standin() -> ManoModel:
    return load_mano(MANO_PICKLE)


def description(case: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{case}.config.json").read_text())


def tensors(name: str) -> dict[str, Tensor]:
    return load_file(GOLDEN / f"{name}.safetensors")


def case_config(case: str, **changes: Any) -> HaMeRConfig:
    content = description(case)
    decoder = {key: value for key, value in content["decoder"].items() if key != "norm"}
    parts = {"image_size": content["image_size"], "backbone": content["backbone"], "decoder": decoder}
    return HaMeRConfig.from_dict(parts | changes)


def case_model(case: str, dtype: torch.dtype = torch.float32) -> HaMeR:
    model = HaMeR(case_config(case), mano_standin()).to(dtype)
    found = model.load_state_dict(tensors(f"{case}.weights"), strict=False)
    assert not found.unexpected_keys
    assert all(key.startswith("mano.") for key in found.missing_keys)
    return model.eval()


def schedules(case: str) -> list[dict[str, Any]]:
    return description(case)["schedules"]


def run(model: HaMeR, img: Tensor) -> dict[str, Tensor]:
    """Everything the model says, flat, with its tokens and raw pose."""
    with torch.no_grad():
        features = model.encode(img)
        out = dict(model(batch={"img": img}))
        pose, _, _ = model.mano_head.decode(features)
    params = out.pop("pred_mano_params")
    return {**out, **params, "features": features, "pose_6d": pose}


def check(found: dict[str, Tensor], wanted: dict[str, Tensor], keys: set[str] | None = None) -> None:
    """Compare what both have; `wanted` may hold more."""
    for key in keys or set(found) & set(wanted):
        a, b = found[key], wanted[key]
        assert a.shape == b.shape, key
        worst = ((a - b).abs() / (1 + b.abs())).max().item()
        assert worst <= 5e-5, f"{key}: {worst:.1e}"
