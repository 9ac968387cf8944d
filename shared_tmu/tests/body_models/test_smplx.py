"""SMPL-X models: reading without executing, and the layer against the unmodified smplx class."""

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import smplx
import torch
from smplx_standin import smplx_standin
from torch import Tensor

from shared_tmu.body_models import load_smplx, smplx_model
from shared_tmu.body_models.landmarks import contour_rows
from shared_tmu.body_models.smplx_layer import SmplxLayer
from shared_tmu.body_models.smplx_model import FILE_ARRAYS, KEYPOINTS
from shared_tmu.body_models.smplx_subset import SmplxSubset
from shared_tmu.errors import BodyModelError, MissingAssetError
from shared_tmu.pictures.geometry import axis_angle_to_rotmat

SIZES = {
    "global_orient": 3, "body_pose": 63, "left_hand_pose": 45, "right_hand_pose": 45, "jaw_pose": 3,
    "betas": 10, "expression": 10, "transl": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def official_layout() -> dict[str, Any]:
    """Everything an official file holds: 400 directions, dictionaries of names, texture."""
    arrays = dict(smplx_standin(correctives=True).to_dict())
    shapes = arrays["shapedirs"]
    many = np.zeros((*shapes.shape[:2], 400), np.float32)
    many[..., :10], many[..., 300:310] = shapes[..., :10], shapes[..., 10:]
    many[..., 10:300] = 7.0  # must not be picked
    return arrays | {"shapedirs": many, "joint2num": {"Pelvis": 0}, "vt": np.zeros((11313, 2))}


def inputs(batch: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(batch)
    return {name: 0.4 * torch.randn(batch, n, generator=generator).to(dtype) for name, n in SIZES.items()}


@pytest.mark.parametrize("batch", [1, 3])
def test_layer_is_the_unmodified_class(official_layout: dict[str, Any], tmp_path: Path, batch: int) -> None:
    path = tmp_path / "SMPLX_NEUTRAL.npz"
    np.savez(path, **official_layout)
    options = {"use_pca": False, "flat_hand_mean": False, "use_face_contour": True, "num_betas": 10}
    unmodified = smplx.SMPLX(str(path), ext="npz", batch_size=batch, **options)
    given = inputs(batch)
    given["body_pose"][:, 33:36] *= 3  # turn the neck, so that the contour moves
    wanted = unmodified(**given)
    found = SmplxLayer(load_smplx(path))(**given)
    assert (found.vertices - wanted.vertices).abs().max() < 5e-6
    assert found.joints.shape == (batch, 144, 3)
    assert (found.joints - wanted.joints).abs().max() < 5e-6
    assert torch.equal(found.keypoints, found.joints[:, list(KEYPOINTS)])


@pytest.mark.parametrize("rows", [range(0, 10475, 5), [7, 3, 9120], []])
def test_a_subset_is_the_whole_layer_where_both_are(rows: Any) -> None:
    layer, chosen = SmplxLayer(smplx_standin(correctives=True)), torch.tensor(list(rows), dtype=torch.long)
    subset = SmplxSubset(layer, chosen)
    given = inputs(3)
    given["body_pose"][:, 33:36] *= 3  # turn the neck, so that the contour moves
    del given["transl"]
    for value in given.values():
        value.requires_grad_()
    whole = layer(**given)
    names = ("global_orient", "body_pose", "jaw_pose")
    root, body, jaw = (axis_angle_to_rotmat(given[name].unflatten(1, (-1, 3))) for name in names)
    hands = subset.hands(
        *(given[name].unflatten(1, (-1, 3)) for name in ("left_hand_pose", "right_hand_pose"))
    )
    part = subset(root, body, *hands, jaw, given["betas"], given["expression"])
    torch.testing.assert_close(part.vertices, whole.vertices[:, chosen], atol=5e-6, rtol=0)
    torch.testing.assert_close(part.joints, whole.joints, atol=5e-6, rtol=0)
    torch.testing.assert_close(part.keypoints, whole.keypoints, atol=5e-6, rtol=0)
    assert not subset.state_dict()
    for one, other in ((whole.vertices[:, chosen], part.vertices), (whole.keypoints, part.keypoints)):
        if not one.numel():
            continue
        grads = (
            torch.autograd.grad(x.square().sum(), list(given.values()), retain_graph=True)
            for x in (one, other)
        )
        for want, got in zip(*grads, strict=True):
            torch.testing.assert_close(got, want, atol=1e-3, rtol=1e-4)


def test_zero_pose_is_the_mean_hand_not_the_flat_one() -> None:
    layer = SmplxLayer(smplx_standin())
    zero = {name: torch.zeros_like(value) for name, value in inputs(1).items()}
    flat = zero | {
        "left_hand_pose": -layer.left_hand_mean[None],
        "right_hand_pose": -layer.right_hand_mean[None],
    }
    assert torch.allclose(layer(**flat).vertices[0], layer.v_template, atol=1e-5)
    assert (layer(**zero).vertices[0] - layer.v_template).abs().max() > 0.01


def test_key_points_are_the_recorded_choice() -> None:
    assert len(KEYPOINTS) == 137
    assert smplx_model.NUM_ALL_JOINTS == 144
    ranges = ("BODY_RANGE", "LEFT_HAND_RANGE", "RIGHT_HAND_RANGE", "FACE_RANGE")
    lengths = [len(KEYPOINTS[getattr(smplx_model, name)]) for name in ranges]
    assert lengths == [25, 20, 20, 72]
    named = ("PELVIS", "NECK", "LEFT_WRIST", "RIGHT_WRIST")
    assert [KEYPOINTS[getattr(smplx_model, f"KEYPOINT_{name}")] for name in named] == [0, 12, 20, 21]


def test_buffers_are_those_of_the_published_model() -> None:
    table = Path(__file__).parents[1] / "golden" / "smplx" / "smplest_x.body_layer.tsv"
    wanted = {}
    for line in table.read_text().splitlines():
        key, shape, dtype = line.split("\t")
        wanted[key.removeprefix("module.smplx_layer.")] = (tuple(map(int, shape.split(","))), dtype)
    layer = SmplxLayer(smplx_standin())
    state = layer.state_dict()
    assert {k: (tuple(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in state.items()} == wanted
    assert tuple(state["vertex_joint_selector.extra_joints_idxs"].tolist()) == smplx_model.EXTRA_VERTICES
    assert tuple(state["parents"].tolist()) == smplx_model.PARENTS
    assert state["neck_kin_chain"].tolist() == [12, 9, 6, 3, 0]
    with torch.device("meta"):
        assert all(value.is_meta for value in SmplxLayer(smplx_standin()).state_dict().values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_the_body_wide(dtype: torch.dtype) -> None:
    layer = SmplxLayer(smplx_standin())
    wanted = layer(**inputs(2)).vertices
    layer = layer.to(dtype)
    assert layer.v_template.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(**inputs(2)).vertices, wanted)
    assert layer.double()(**inputs(2)).vertices.dtype == torch.float64


def test_gradients_reach_every_input() -> None:
    layer = SmplxLayer(smplx_standin(correctives=True))
    given = {name: value.requires_grad_() for name, value in inputs(2).items()}
    layer(**given).keypoints.square().sum().backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in given.values())


def test_pickle_npz_and_folders(official_layout: dict[str, Any], tmp_path: Path) -> None:
    own = smplx_standin(correctives=True).to_dict()
    (tmp_path / "smplx").mkdir()
    with (tmp_path / "smplx" / "SMPLX_NEUTRAL.pkl").open("wb") as file:
        pickle.dump(official_layout, file, protocol=2)
    read = load_smplx(tmp_path).to_dict()
    assert set(read) == set(FILE_ARRAYS) == set(own)
    assert all(np.array_equal(read[name], own[name]) for name in own)
    np.savez(tmp_path / "smplx" / "SMPLX_NEUTRAL.npz", **own)
    again = load_smplx(tmp_path / "smplx")
    assert np.array_equal(again.exprdirs, own["shapedirs"][..., 10:])
    with pytest.raises(ValueError, match="read-only"):
        again.v_template[0] = 0


class Malicious:
    def __reduce__(self) -> Any:
        return os.mkdir, ("should_never_exist",)


def test_pickles_with_code_are_refused(
    official_layout: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the code would leave its mark
    path = tmp_path / "SMPLX_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps({"f": official_layout["f"], "joint2num": Malicious()}, protocol=2))
    with pytest.raises(BodyModelError, match=r"refers to 'posix\.mkdir'"):
        load_smplx(path)
    assert not Path("should_never_exist").exists()
    packed = io.BytesIO()
    np.savez(packed, f=np.array([Malicious()], dtype=object))
    (tmp_path / "x.npz").write_bytes(packed.getvalue())
    with pytest.raises(BodyModelError, match="objects inside are refused"):
        load_smplx(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("weights", lambda a: None, "has no 'weights', which an SMPL-X body model needs"),
        ("weights", lambda a: a[:6890], r"'weights' has shape \(6890, 55\)"),
        ("shapedirs", lambda a: a[..., :10], "'shapedirs' has 10 directions; an SMPL-X body model has 20"),
        ("shapedirs", lambda a: np.tile(a, 20)[..., :310], "'shapedirs' has 310 directions; .* or 400"),
        ("v_template", lambda a: a * np.nan, "'v_template' holds NaN"),
        ("f", lambda a: a + 1, r"'f' holds indices outside 0\.\.10474"),
        ("lmk_faces_idx", lambda a: a - 99999, "'lmk_faces_idx' holds indices outside"),
        ("kintree_table", lambda a: a[:, ::-1], "joint parents are"),
        ("J_regressor", lambda a: "text", "'J_regressor' is not an array of numbers but str"),
    ],
)
def test_other_files_are_refused(name: str, change: Any, message: str) -> None:
    arrays = smplx_standin().to_dict()
    arrays[name] = change(arrays[name])
    if arrays[name] is None:
        del arrays[name]
    with pytest.raises(BodyModelError, match=message):
        smplx_model.SmplxModel.from_dict(arrays, "file")


def test_missing_files_say_where_to_register(tmp_path: Path) -> None:
    with pytest.raises(MissingAssetError, match=r"SMPLX_NEUTRAL\.npz is not in .*smpl-x\.is\.tue\.mpg\.de"):
        load_smplx(tmp_path)


def test_numbers_that_are_none_stay_so_and_harm_nobody_else():
    """NaN, which picks no row of the contour's table, was an index out of bounds."""
    turns = torch.eye(3).repeat(3, 4, 1, 1)
    turns[1] = float("nan")
    assert contour_rows(turns, (3, 2, 1, 0)).tolist() == [0, 0, 0]
