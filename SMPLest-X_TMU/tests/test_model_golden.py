"""The model against recorded outputs of the published one, alone and with tokens merged."""

import pytest
import torch
from folder import FOLDER
from suites.folders import CASES, check
from suites.golden import DTYPES, GoldenSuite

from shared_tmu.pictures.geometry import interleaved_rot6d_to_rotmat
from smplest_x_tmu.model import geometry


class TestGolden(GoldenSuite):
    folder = FOLDER


@pytest.mark.parametrize("case", CASES)
@DTYPES
def test_projected_joints(case: str, dtype: torch.dtype) -> None:
    model, order = FOLDER.case_model(case, dtype), FOLDER.tensors("geometry")["joint_idx_137_of_144"]
    for index in range(len(FOLDER.description(case)["batches"])):
        wanted = FOLDER.tensors(f"{case}.baseline{index}")
        found = model.joint_outputs(wanted["body_joints144"][:, order].to(dtype))
        check(found, wanted, {"smplx_joint_proj", "smplx_joint_cam"})


def test_rotations_of_a_batch_of_three() -> None:
    golden = FOLDER.tensors("geometry")
    found = geometry.interleaved_rot6d_to_axis_angle(golden["defect_b3_rot6d_in"])
    assert (found - golden["defect_b3_rowwise_axis_angle"]).abs().max() < 5e-5
    assert (found - golden["defect_b3_upstream_axis_angle"]).abs().max() > 0.1


def test_rotations_and_cameras() -> None:
    golden = FOLDER.tensors("geometry")
    rotmat = interleaved_rot6d_to_rotmat(golden["rot6d_in"])
    assert (rotmat - golden["rot6d_rotmat"]).abs().max() < 5e-5
    again = interleaved_rot6d_to_rotmat(geometry.rotmat_to_interleaved_rot6d(rotmat))
    assert torch.allclose(again, rotmat, atol=1e-6)
    found = geometry.interleaved_rot6d_to_axis_angle(golden["rot6d_in"])
    assert (found - golden["rot6d_axis_angle"]).abs().max() < 2e-4
    scale = geometry.distance_scale_m((5000.0, 5000.0), 2.5, (256, 192))
    assert scale == pytest.approx(56.38186)
    assert (geometry.camera_translation(golden["cam_param"], scale) - golden["cam_trans"]).abs().max() < 5e-5


def test_no_rotation_is_not_a_number() -> None:
    """Six zeros, or two parallel vectors, have no rotation; something finite comes out, as published."""
    degenerate = torch.tensor([[0.0] * 6, [1.0, 2.0, 0.0, 0.0, 0.0, 0.0]])
    assert geometry.interleaved_rot6d_to_axis_angle(degenerate).isfinite().all()
