"""The model against recorded outputs of the published one, alone and with tokens merged."""

from typing import Any

import pytest
import torch
from folder import FOLDER
from suites.folders import CASES, check
from suites.golden import DTYPES, GoldenSuite
from torch import Tensor

from shared_tmu.models.hand import mano_params
from wilor_tmu import tmu
from wilor_tmu.model import WiLoR


class TestGolden(GoldenSuite):
    folder = FOLDER


def first_estimate(model: WiLoR, img: Tensor) -> dict[str, Tensor]:
    """What happens between backbone and output: estimate, maps, samples."""
    with torch.no_grad():
        tokens = model.encode(img)
        pose, betas, camera = model.backbone.decode(tokens)
        feature_map = model.backbone.feature_map(tokens)
        vertices = model.mano(**mano_params(pose, betas)).vertices
        levels = model.refine_net.deconv(feature_map)
        features = model.refine_net.vertex_features(feature_map, vertices, camera)
    names = ("backbone_pose_6d", "backbone_betas", "backbone_cam", "temp_vertices", "refine_vert_feats")
    found: dict[str, Tensor] = dict(zip(names, (pose, betas, camera, vertices, features), strict=True))
    for i, level in enumerate(levels):
        found[f"deconv{i}"] = level
        found[f"sample_xy{i}"] = model.refine_net.sample_points(vertices, camera, level.shape[2])
    return found


@pytest.mark.parametrize("case", CASES)
@DTYPES
def test_the_way_from_estimate_to_output(case: str, dtype: torch.dtype) -> None:
    model = FOLDER.case_model(case, dtype)
    for index in range(len(FOLDER.description(case)["batches"])):
        img = FOLDER.tensors(f"{case}.inputs{index}")["img"].to(dtype)
        wanted = FOLDER.tensors(f"{case}.baseline{index}")
        found = first_estimate(model, img)
        maps = {f"deconv{i}" for i in range(3)}
        assert set(found) - maps <= set(wanted)
        check(found, wanted)
        if case == "full_grid":
            assert maps <= set(wanted)


def test_the_estimate_with_merged_tokens() -> None:
    model = FOLDER.case_model("full_grid")
    entry: dict[str, Any] = FOLDER.description("full_grid")["schedules"][0]
    wanted = FOLDER.tensors(f"full_grid.tmu.{entry['name']}")
    with tmu.patch(model, entry["r"]):
        found = first_estimate(model, FOLDER.tensors("full_grid.inputs0")["img"])
    check(found, wanted, {"backbone_pose_6d", "backbone_betas", "backbone_cam", "temp_vertices"})


def test_every_sample_falls_beside_the_first_cell() -> None:
    """The published sampling, odd as it is: normalised coordinates taken for pixels."""
    found = first_estimate(FOLDER.case_model("full_grid"), FOLDER.tensors("full_grid.inputs0")["img"])
    for i in range(3):
        assert found[f"sample_xy{i}"].abs().max() < 1
