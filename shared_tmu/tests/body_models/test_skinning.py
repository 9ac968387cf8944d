"""Our skinning against smplx's: same vertices, joints and gradients; one graph; no hands at all."""

import numpy as np
import pytest
import torch
from smplx.lbs import lbs
from torch import Tensor

from shared_tmu.body_models import load_mano
from shared_tmu.body_models.mano import PARENTS
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.body_models.skinning import skin_vertices
from shared_tmu.pictures.geometry import axis_angle_to_rotmat


def hands(count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(count)
    pose = torch.randn(count, 16, 3, generator=draws, dtype=torch.float64)
    return (
        torch.randn(count, 10, generator=draws, dtype=torch.float64).to(dtype),
        axis_angle_to_rotmat(pose).to(dtype),
    )


def by_smplx(layer: ManoLayer, betas: Tensor, rotmat: Tensor) -> tuple[Tensor, Tensor]:
    arrays = (layer.v_template, layer.shapedirs, layer.posedirs, layer.J_regressor)
    return lbs(betas, rotmat, *arrays, np.array(PARENTS), layer.lbs_weights, pose2rot=False)


def by_us(layer: ManoLayer, betas: Tensor, rotmat: Tensor) -> tuple[Tensor, Tensor]:
    return skin_vertices(
        betas,
        rotmat,
        v_template=layer.v_template,
        shapedirs=layer.shapedirs,
        posedirs=layer.posedirs,
        joint_regressor=layer.J_regressor,
        weights=layer.lbs_weights,
        parents=PARENTS,
    )


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize(("dtype", "tolerance_m"), [(torch.float32, 1e-6), (torch.float64, 1e-14)], ids=str)
def test_equals_smplx(dtype: torch.dtype, tolerance_m: float, count: int, side: str) -> None:
    layer = ManoLayer(load_mano(side=side), dtype=dtype)
    betas, rotmat = hands(count, dtype)
    for found, wanted in zip(by_us(layer, betas, rotmat), by_smplx(layer, betas, rotmat), strict=True):
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() < tolerance_m


def test_gradients_equal_those_of_smplx() -> None:
    layer = ManoLayer(load_mano(), dtype=torch.float64)
    gradients = []
    for skin in (by_us, by_smplx):
        betas, rotmat = (x.requires_grad_() for x in hands(3, torch.float64))
        vertices, joints = skin(layer, betas, rotmat)
        (vertices.square().sum() + joints.sin().sum()).backward()
        gradients.append((betas.grad, rotmat.grad))
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_any_tree_whose_parents_come_first() -> None:
    """Against the definition, one vertex and one chain of 4 x 4 matrices at a time."""
    parents = (-1, 0, 0, 2, 1, 3)
    draws = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draws, dtype=torch.float64)

    template, shapedirs, posedirs, regressor = draw(9, 3), draw(9, 3, 2), draw(45, 27), draw(6, 9)
    weights, betas, rotmat = draw(9, 6).softmax(1), draw(1, 2), axis_angle_to_rotmat(draw(1, 6, 3))
    vertices, joints = skin_vertices(
        betas,
        rotmat,
        v_template=template,
        shapedirs=shapedirs,
        posedirs=posedirs,
        joint_regressor=regressor,
        weights=weights,
        parents=parents,
    )
    shaped = template + shapedirs @ betas[0]
    rest = regressor @ shaped
    posed = shaped + ((rotmat[0, 1:] - torch.eye(3)).flatten() @ posedirs).view(9, 3)
    world: list[Tensor] = []
    for joint, parent in enumerate(parents):
        step = torch.eye(4, dtype=torch.float64)
        step[:3, :3], step[:3, 3] = rotmat[0, joint], rest[joint] - (rest[parent] if joint else 0)
        world.append(world[parent] @ step if joint else step)
        assert torch.allclose(joints[0, joint], world[joint][:3, 3])
    for v in range(9):
        moved = sum(
            weights[v, j] * (world[j][:3, :3] @ (posed[v] - rest[j]) + world[j][:3, 3]) for j in range(6)
        )
        assert torch.allclose(vertices[0, v], moved)


def test_layer_is_one_graph_and_takes_no_hands() -> None:
    layer = ManoLayer(load_mano())
    betas, rotmat = hands(2, torch.float32)
    torch._dynamo.reset()
    out = torch.compile(layer, fullgraph=True, backend="eager")(rotmat[:, :1], rotmat[:, 1:], betas)
    wanted = layer(rotmat[:, :1], rotmat[:, 1:], betas)
    assert torch.equal(out.vertices, wanted.vertices)
    assert torch.equal(out.keypoints, wanted.keypoints)
    none = layer(rotmat[:0, :1], rotmat[:0, 1:], betas[:0])
    assert none.vertices.shape == (0, 778, 3)
    assert none.keypoints.shape == (0, 21, 3)
