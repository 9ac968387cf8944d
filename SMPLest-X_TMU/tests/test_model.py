"""What holds for a SMPLest-X of any size: precisions, training, copies, sizes and errors."""

import copy
import pickle

import pytest
import torch
from cases import body_standin, case_config, case_model, run, tensors
from torch import Tensor, nn

from shared_tmu.errors import InputError
from smplest_x import SMPLestX, SMPLestXConfig

OUTPUTS = {
    "img": (3, 128, 96), "smplx_joint_proj": (137, 2), "smplx_mesh_cam": (10475, 3), "smplx_root_pose": (3,),
    "smplx_body_pose": (63,), "smplx_lhand_pose": (45,), "smplx_rhand_pose": (45,), "smplx_jaw_pose": (3,),
    "smplx_shape": (10,), "smplx_expr": (10,), "cam_trans": (3,), "smplx_joint_cam": (137, 3),
    "smplx_root_cam": (3,),
}  # fmt: skip


def relative_error(found: Tensor, wanted: Tensor) -> float:
    return ((found - wanted).abs() / (1 + wanted.abs())).max().item()


def test_output_dictionary() -> None:
    model, img = case_model("small_grid"), tensors("small_grid.inputs0")["img"]
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
    model, img = case_model("small_grid"), torch.rand(2, 3, 256, 192)
    assert torch.equal(model.encode(img), model.encode(img[..., ::2, ::2]))


@pytest.mark.parametrize(
    ("dtype", "out", "tolerance"),
    [
        (torch.float16, torch.float32, 5e-2),
        (torch.bfloat16, torch.float32, 3e-1),
        (torch.float64, torch.float64, 1e-5),
    ],
    ids=str,
)
def test_precisions_without_autocast(dtype: torch.dtype, out: torch.dtype, tolerance: float) -> None:
    img = tensors("small_grid.inputs0")["img"]
    wanted = run(case_model("small_grid"), img)
    found = run(case_model("small_grid").to(dtype), img)  # the images may stay float32
    assert found["features"].dtype == dtype
    assert found["smplx_body_pose"].dtype == found["cam_trans"].dtype == out
    assert relative_error(found["dec_body_pose"], wanted["dec_body_pose"]) < tolerance


def test_autocast() -> None:
    img = tensors("small_grid.inputs0")["img"]
    wanted = run(case_model("small_grid"), img)
    model = case_model("small_grid")
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        found = model({"img": img})
    assert found["smplx_mesh_cam"].dtype == torch.float32
    assert relative_error(found["cam_trans"], wanted["cam_trans"]) < 0.1


@pytest.mark.parametrize(
    ("img_size", "depth", "heads"), [((32, 32), 1, 1), ((64, 48), 2, 3), ((256, 192), 32, 4)]
)
def test_any_size(img_size: tuple[int, int], depth: int, heads: int) -> None:
    encoder = {"img_size": img_size, "embed_dim": 24, "depth": depth, "num_heads": heads, "mlp_ratio": 2.5}
    decoder = {
        "depth": 1, "heads": 2, "dim_head": 4, "dim": 24, "context_dim": 24, "mlp_dim": 8, "dim_out": 3,
    }  # fmt: skip
    config = SMPLestXConfig.from_dict({"encoder": encoder, "decoder": decoder})
    model = SMPLestX(config, body_standin()).eval()
    with torch.no_grad():
        out = model({"img": torch.rand(2, 3, *img_size)})
        assert out["smplx_mesh_cam"].shape == (2, 10475, 3)
        tokens = model.encode(torch.rand(1, 3, *img_size))
    assert tokens.shape == (1, 80 + img_size[0] // 16 * (img_size[1] // 16), 24)
    assert config.princpt_px == (img_size[1] / 2, img_size[0] / 2)


def test_training_reaches_every_weight() -> None:
    model = case_model("small_grid").train()
    for block in model.encoder.blocks:
        block.drop_path = nn.Identity()
    tokens = model.encode(tensors("small_grid.inputs0")["img"])
    decoded = model.decoder(tokens)
    sum(value.square().sum() for value in decoded.values()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # Published weights have it, the published model never calls it.
    assert [name for name in without if "to_token_embedding" not in name] == []


def test_gradients_reach_weights_through_the_body() -> None:
    model = case_model("small_grid").train()
    out = model({"img": tensors("small_grid.inputs0")["img"]})
    out["smplx_joint_proj"].square().mean().backward()
    for name in ("dec_body_pose", "dec_hand_pose", "dec_body_cam", "dec_body_root_pose", "dec_face_jaw_pose"):
        assert getattr(model.decoder, name).weight.grad.abs().sum() > 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_recomputing_blocks_gives_the_same_gradients() -> None:
    img = tensors("small_grid.inputs0")["img"].double()
    gradients = []
    for use_checkpoint in (False, True):
        model = case_model("small_grid", torch.float64).train()
        for block in model.encoder.blocks:
            block.drop_path = nn.Identity()
        model.encoder.use_checkpoint = use_checkpoint
        model.encode(img).square().sum().backward()
        gradients.append([p.grad for p in model.encoder.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(*gradients, strict=True))


def test_modes_can_be_chained_and_models_copied() -> None:
    model, img = case_model("small_grid"), tensors("small_grid.inputs1")["img"]
    assert model.encoder.train().eval() is model.encoder
    wanted = run(model, img)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert all(torch.equal(value, wanted[key]) for key, value in run(other, img).items())


def test_the_encoder_compiles_as_one_graph() -> None:
    model, img = case_model("small_grid"), tensors("small_grid.inputs1")["img"]
    model.encoder.blocks = model.encoder.blocks[:1]
    compiled = torch.compile(model.encode, fullgraph=True, backend="eager")
    assert torch.equal(compiled(img), model.encode(img))


@pytest.mark.parametrize("shape", [(1, 3, 512, 384), (1, 1, 128, 96), (3, 128, 96), (1, 3, 96, 128)])
def test_other_images_are_refused(shape: tuple[int, ...]) -> None:
    sizes = r"\[B, 3, 256, 192\] or \[B, 3, 128, 96\], found"
    with pytest.raises(InputError, match=rf"SMPLest-X takes images {sizes}"):
        case_model("small_grid").encode(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(2, 80, 64), (2, 128, 63), (128, 64)])
def test_other_tokens_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"80 task tokens and image tokens, \[B, N, 64\] with N > 80, found"):
        case_model("small_grid").decoder(torch.zeros(shape))


def test_the_decoder_reads_any_number_of_image_tokens() -> None:
    model = case_model("small_grid")
    assert model.predict(torch.randn(2, 83, 64))["smplx_mesh_cam"].shape == (2, 10475, 3)


def test_configurations_describe_themselves() -> None:
    assert SMPLestXConfig.official().crop_size == (512, 384)
    assert SMPLestXConfig.official().princpt_px == (96.0, 128.0)
    assert case_config("small_grid").crop_size == (256, 192)
