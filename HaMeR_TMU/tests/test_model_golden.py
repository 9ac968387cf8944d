"""The model against recorded outputs of the published one, alone and with tokens merged."""

from typing import Any

import pytest
import torch
from cases import CASES, case_model, check, description, run, schedules, tensors

import tmu
from hamer import HaMeR

KEYS = {
    "pred_cam", "pred_cam_t", "focal_length", "pred_keypoints_3d", "pred_vertices", "pred_keypoints_2d",
    "global_orient", "hand_pose", "betas", "pose_6d", "features",
}  # fmt: skip
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def models() -> dict[str, HaMeR]:
    return {case: case_model(case) for case in CASES}


@pytest.mark.parametrize("case", CASES)
@DTYPES
def test_baseline(case: str, dtype: torch.dtype) -> None:
    model = case_model(case, dtype)
    for index in range(len(description(case)["batches"])):
        img, wanted = tensors(f"{case}.inputs{index}")["img"], tensors(f"{case}.baseline{index}")
        check(run(model, img.to(dtype)), wanted, KEYS)


def every_schedule() -> list[Any]:
    return [
        pytest.param(case, entry, id=f"{case}-{entry['name']}") for case in CASES for entry in schedules(case)
    ]


@pytest.mark.parametrize(("case", "entry"), every_schedule())
@DTYPES
def test_merged(case: str, entry: dict[str, Any], dtype: torch.dtype) -> None:
    model = case_model(case, dtype)
    img, wanted = tensors(f"{case}.inputs{entry['batch']}")["img"], tensors(f"{case}.tmu.{entry['name']}")
    r = wanted["r_schedule"].tolist() if entry["form"] != "int" else entry["r"]
    before = run(model, img.to(dtype))
    with tmu.patch(model, r, proportional=entry["prop_attn"], record=True) as handle:
        found = run(model, img.to(dtype))
        check(found, wanted, KEYS)
        plan = handle.plan
        if plan is not None:  # nothing merged, nothing recorded
            assert torch.equal(plan.source_map, wanted["source_index"])
    after = run(model, img.to(dtype))
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_results_do_not_depend_on_the_batch() -> None:
    model, img = case_model("small_grid", torch.float64), tensors("small_grid.inputs0")["img"].double()
    together = run(model, img)
    for index in range(len(img)):
        alone = run(model, img[index : index + 1])
        assert all(torch.allclose(alone[key][0], together[key][index]) for key in alone)


def test_the_head_reads_maps_and_shorter_sequences() -> None:
    model = case_model("small_grid")
    tokens = model.encode(tensors("small_grid.inputs0")["img"])
    rows, columns = model.config.backbone.grid
    as_map = tokens.transpose(1, 2).unflatten(2, (rows, columns))
    assert torch.equal(model.predict(as_map)["pred_cam"], model.predict(tokens)["pred_cam"])
    assert model.predict(tokens[:, :7])["pred_vertices"].shape == (3, 778, 3)
