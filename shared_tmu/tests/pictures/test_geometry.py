"""Rotations and cameras against recorded numbers of the published code, and against their own inverses."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from shared_tmu.errors import InputError
from shared_tmu.pictures import geometry

GOLDEN = load_file(Path(__file__).parents[1] / "golden" / "geometry" / "hand.safetensors")


def check(found: Tensor, wanted: str, tolerance: float = 5e-5) -> None:
    target = GOLDEN[wanted]
    assert found.shape == target.shape
    assert ((found - target).abs() <= tolerance * (1 + target.abs())).all()


def random_rotations(count: int, max_angle: float = 3.1415) -> Tensor:
    axis = torch.nn.functional.normalize(torch.randn(count, 3, dtype=torch.float64), dim=-1)
    return axis * torch.rand(count, 1, dtype=torch.float64) * max_angle


def test_rot6d_is_contiguous_as_published() -> None:
    check(geometry.rot6d_to_rotmat(GOLDEN["rot6d_in"]), "rot6d_rotmat", 1e-3)
    rows = [row for row in range(24) if row != 1]  # row 1 has two nearly parallel vectors
    found = geometry.rot6d_to_rotmat(GOLDEN["rot6d_in"])[rows]
    assert (found - GOLDEN["rot6d_rotmat"][rows]).abs().max() < 5e-5
    check(geometry.rot6d_to_rotmat(GOLDEN["rot6d_batch_in"].unflatten(-1, (16, 6))), "rot6d_batch_rotmat")


def test_axis_angle_and_quaternions_as_published() -> None:
    check(geometry.axis_angle_to_rotmat(GOLDEN["aa_in"]), "aa_rotmat")
    check(geometry.quaternion_to_rotmat(GOLDEN["quat_in_wxyz"]), "quat_rotmat")


def test_cameras_as_published() -> None:
    points, shift, focal = (GOLDEN[f"persp_{name}"] for name in ("points", "translation", "focal"))
    check(geometry.project_points(points, shift, focal), "persp_out_default")
    full = geometry.project_points(points, shift, focal, GOLDEN["persp_center"], GOLDEN["persp_rotation"])
    check(full, "persp_out_full")
    check(geometry.weak_camera_to_translation(GOLDEN["c2f_cam"]), "pred_cam_t_256")


@pytest.mark.parametrize(
    ("wanted", "focal", "mirror"),
    [
        ("c2f_out", "scaled", False),
        ("c2f_out_default5000", 5000.0, False),
        ("c2f_out_mirrored", "scaled", True),
    ],
)
def test_crop_camera_moves_to_the_full_image(wanted: str, focal: str | float, mirror: bool) -> None:
    camera = GOLDEN["c2f_cam"].clone()
    if mirror:
        camera[:, 1] *= 2 * GOLDEN["c2f_right"] - 1
    focal_px = GOLDEN["c2f_scaled_focal"] if focal == "scaled" else focal
    places = (GOLDEN[f"c2f_{name}"] for name in ("box_center", "box_size", "img_size"))
    check(geometry.crop_camera_to_full(camera, *places, focal_px), wanted)


def test_a_full_image_focal_does_not_depend_on_the_batch() -> None:
    sizes = GOLDEN["c2f_img_size"]
    focal = geometry.full_image_focal(sizes)
    assert torch.equal(focal, torch.cat([geometry.full_image_focal(size[None]) for size in sizes]))
    assert torch.equal(focal.max()[None], GOLDEN["c2f_scaled_focal"])  # what the published code gives to all


def test_the_full_image_camera_shows_the_crop_where_it_was() -> None:
    """A point projects to the same pixel through the crop and through the whole image, up to perspective."""
    camera = torch.tensor([[0.9, 0.05, -0.03]], dtype=torch.float64)
    centre, size, picture = (
        torch.tensor(x, dtype=torch.float64) for x in ([[300, 200]], [180], [[640, 480]])
    )
    point = torch.tensor([[[0.02, -0.05, 0.0]]], dtype=torch.float64)
    focal = geometry.full_image_focal(picture)
    shift = geometry.crop_camera_to_full(camera, centre, size, picture, focal)
    both = focal[:, None].expand(1, 2)
    full = geometry.project_points(point, shift, both, picture / 2)
    crop_focal = torch.full((1, 2), 5000.0 / 256, dtype=torch.float64)
    crop = geometry.project_points(point, geometry.weak_camera_to_translation(camera), crop_focal)
    assert torch.allclose(full, crop * size + centre, atol=1e-6)


def test_axis_angle_round_trip() -> None:
    vectors = torch.cat((random_rotations(200), random_rotations(50, 1e-5), torch.zeros(1, 3).double()))
    back = geometry.rotmat_to_axis_angle(geometry.axis_angle_to_rotmat(vectors))
    assert (back - vectors).abs().max() < 1e-7


def test_axis_angle_at_half_turns() -> None:
    axes = torch.nn.functional.normalize(
        torch.cat((torch.eye(3).double(), random_rotations(50)[:, [1, 2, 0]])), dim=-1
    )
    rotmat = 2 * axes[:, :, None] * axes[:, None] - torch.eye(3).double()
    back = geometry.rotmat_to_axis_angle(rotmat)
    assert torch.allclose(back.norm(dim=-1), torch.full((53,), torch.pi).double())
    assert torch.allclose(geometry.axis_angle_to_rotmat(back), rotmat, atol=1e-6)


def test_quaternion_and_rot6d_round_trips() -> None:
    rotmat = geometry.axis_angle_to_rotmat(random_rotations(100)).view(10, 10, 3, 3)
    assert torch.allclose(geometry.quaternion_to_rotmat(geometry.rotmat_to_quaternion(rotmat)), rotmat)
    assert torch.allclose(geometry.rot6d_to_rotmat(geometry.rotmat_to_rot6d(rotmat)), rotmat)


@given(st.lists(st.floats(-10, 10, width=32), min_size=6, max_size=6))
def test_any_rot6d_but_degenerate_ones_gives_a_rotation(numbers: list[float]) -> None:
    rot6d = torch.tensor(numbers, dtype=torch.float64)
    first, second = rot6d[:3], rot6d[3:]
    if torch.linalg.cross(first, second).norm() < 1e-3:
        return
    rotmat = geometry.rot6d_to_rotmat(rot6d)
    assert torch.allclose(rotmat @ rotmat.T, torch.eye(3, dtype=torch.float64), atol=1e-9)
    assert torch.det(rotmat) == pytest.approx(1.0)


def test_mirrors_agree_with_each_other() -> None:
    vectors, points = random_rotations(50), torch.randn(50, 3, dtype=torch.float64)
    rotmat = geometry.axis_angle_to_rotmat(vectors)
    mirrored = geometry.mirror_rotmat(rotmat)
    assert torch.allclose(
        geometry.axis_angle_to_rotmat(geometry.mirror_axis_angle(vectors)), mirrored, atol=1e-7
    )
    turned = torch.einsum("bij,bj->bi", rotmat, points)
    mirrored_turned = torch.einsum("bij,bj->bi", mirrored, geometry.mirror_points(points))
    assert torch.allclose(mirrored_turned, geometry.mirror_points(turned))
    assert torch.equal(geometry.mirror_rotmat(mirrored), rotmat)


def test_gradients_are_finite_and_right() -> None:
    vectors = random_rotations(5, 2.0).requires_grad_()
    assert torch.autograd.gradcheck(geometry.axis_angle_to_rotmat, vectors)
    rotmat = geometry.axis_angle_to_rotmat(random_rotations(5, 2.0)).requires_grad_()
    assert torch.autograd.gradcheck(geometry.rotmat_to_axis_angle, rotmat)
    identity = torch.eye(3)[None].requires_grad_()
    (gradient,) = torch.autograd.grad(geometry.rotmat_to_axis_angle(identity).sum(), identity)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_zero_rotation_is_the_identity(dtype: torch.dtype) -> None:
    rotmat = geometry.axis_angle_to_rotmat(torch.zeros(2, 3, dtype=dtype))
    assert rotmat.dtype == dtype
    assert torch.equal(rotmat, torch.eye(3, dtype=dtype).expand(2, 3, 3))
    assert torch.equal(geometry.rotmat_to_axis_angle(rotmat), torch.zeros(2, 3, dtype=dtype))


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(InputError, match=r"rot6d must end in dimensions \[6\], found \[2, 96\]"):
        geometry.rot6d_to_rotmat(torch.zeros(2, 96))
