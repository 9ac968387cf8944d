"""What holds for a SMPLest-X of any size."""

import pytest
import torch
from folder import FOLDER
from suites.model import ModelSuite
from torch import nn

from shared_tmu.errors import InputError
from smplest_x_tmu.model import SMPLestXConfig

OUTPUTS = {
    "img": (3, 128, 96), "smplx_joint_proj": (137, 2), "smplx_mesh_cam": (10475, 3), "smplx_root_pose": (3,),
    "smplx_body_pose": (63,), "smplx_lhand_pose": (45,), "smplx_rhand_pose": (45,), "smplx_jaw_pose": (3,),
    "smplx_shape": (10,), "smplx_expr": (10,), "cam_trans": (3,), "smplx_joint_cam": (137, 3),
    "smplx_root_cam": (3,),
}  # fmt: skip


class TestModel(ModelSuite):
    folder = FOLDER


def test_output_dictionary() -> None:
    model, img = FOLDER.case_model("small_grid"), FOLDER.tensors("small_grid.inputs0")["img"]
    with torch.no_grad():
        out = model({"img": img, "other": img})
    assert {name: tuple(value.shape[1:]) for name, value in out.items()} == OUTPUTS
    assert (out["smplx_joint_cam"][:, 0] == 0).all()
    body = model.smplx_layer(
        out["smplx_root_pose"], out["smplx_body_pose"], out["smplx_lhand_pose"], out["smplx_rhand_pose"],
        out["smplx_jaw_pose"], out["smplx_shape"], out["smplx_expr"], out["cam_trans"],
    )  # fmt: skip
    assert torch.equal(body.vertices, out["smplx_mesh_cam"])
    assert torch.allclose(body.keypoints, out["smplx_joint_cam"] + out["smplx_root_cam"][:, None], atol=1e-5)
    pixels = out["smplx_joint_proj"] * torch.tensor([96 / 12, 128 / 16])
    camera = body.keypoints[..., :2] / (body.keypoints[..., 2:] + 1e-4) * 5000 + torch.tensor([48.0, 64.0])
    assert torch.allclose(pixels, camera, rtol=1e-4)


def test_large_crops_are_thinned_out() -> None:
    model, img = FOLDER.case_model("small_grid"), torch.rand(2, 3, 256, 192)
    assert torch.equal(model.encode(img), model.encode(img[..., ::2, ::2]))


def test_losses_reach_every_weight_of_the_decoder() -> None:
    model = FOLDER.case_model("small_grid").train()
    for block in model.encoder.blocks:
        block.drop_path = nn.Identity()
    tokens = model.encode(FOLDER.tensors("small_grid.inputs0")["img"])
    decoded = model.decoder(tokens)
    sum(value.square().sum() for value in decoded.values()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # Published weights have it, the published model never calls it.
    assert [name for name in without if "to_token_embedding" not in name] == []


def test_gradients_reach_weights_through_the_body() -> None:
    model = FOLDER.case_model("small_grid").train()
    out = model({"img": FOLDER.tensors("small_grid.inputs0")["img"]})
    out["smplx_joint_proj"].square().mean().backward()
    for name in ("dec_body_pose", "dec_hand_pose", "dec_body_cam", "dec_body_root_pose", "dec_face_jaw_pose"):
        assert getattr(model.decoder, name).weight.grad.abs().sum() > 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("shape", [(2, 80, 64), (2, 128, 63), (128, 64)])
def test_other_tokens_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"80 task tokens and image tokens, \[B, N, 64\] with N > 80, found"):
        FOLDER.case_model("small_grid").decoder(torch.zeros(shape))


def test_the_decoder_reads_any_number_of_image_tokens() -> None:
    model = FOLDER.case_model("small_grid")
    assert model.predict(torch.randn(2, 83, 64))["smplx_mesh_cam"].shape == (2, 10475, 3)


def test_configurations_describe_themselves() -> None:
    assert SMPLestXConfig.official().crop_size == (512, 384)
    assert SMPLestXConfig.official().princpt_px == (96.0, 128.0)
    assert FOLDER.case_config("small_grid").crop_size == (256, 192)
