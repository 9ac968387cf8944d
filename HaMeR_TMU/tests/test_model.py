"""What holds for a HaMeR of any size: precisions, training, copies, sizes and errors."""

import copy
import pickle

import pytest
import torch
from cases import case_config, case_model, mano_standin, run, tensors
from torch import nn

from hamer import HaMeR, HaMeRConfig
from shared_tmu.body_models import load_mano, load_mean_params
from shared_tmu.errors import BodyModelError, ConfigError, InputError
from shared_tmu.geometry import axis_angle_to_rotmat
from shared_tmu.models.discriminator import Discriminator
from shared_tmu.models.vit import DropPath, ViT


@pytest.mark.parametrize(
    ("dtype", "out", "tolerance_m"),
    [
        (torch.float16, torch.float32, 3e-3),
        (torch.bfloat16, torch.float32, 1e-2),
        (torch.float64, torch.float64, 1e-6),
    ],
    ids=str,
)
def test_precisions_without_autocast(dtype: torch.dtype, out: torch.dtype, tolerance_m: float) -> None:
    img = tensors("small_grid.inputs0")["img"]
    wanted = run(case_model("small_grid"), img)
    found = run(case_model("small_grid").to(dtype), img)  # the images may stay float32
    assert found["features"].dtype == dtype
    assert found["pred_vertices"].dtype == found["pred_cam_t"].dtype == out
    assert (found["pred_vertices"] - wanted["pred_vertices"]).abs().max() < tolerance_m
    rotmat = found["hand_pose"]
    assert torch.allclose(rotmat @ rotmat.mT, torch.eye(3, dtype=out).expand_as(rotmat), atol=1e-5)


def test_autocast() -> None:
    img = tensors("small_grid.inputs0")["img"]
    wanted = run(case_model("small_grid"), img)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = run(case_model("small_grid"), img)
    assert found["pred_vertices"].dtype == torch.float32
    assert (found["pred_vertices"] - wanted["pred_vertices"]).abs().max() < 1e-2


@pytest.mark.parametrize(
    ("image_size", "img_size", "depth", "heads"),
    [(32, (32, 32), 1, 1), (64, (64, 48), 2, 3), (96, (96, 32), 1, 2), (256, (256, 192), 32, 4)],
)
def test_any_size(image_size: int, img_size: tuple[int, int], depth: int, heads: int) -> None:
    config = HaMeRConfig.from_dict(
        {
            "image_size": image_size,
            "backbone": {
                "img_size": img_size,
                "embed_dim": 24,
                "depth": depth,
                "num_heads": heads,
                "mlp_ratio": 2.5,
            },
            "decoder": {"depth": 1, "heads": 1, "mlp_dim": 5, "dim_head": 3, "dim": 7, "context_dim": 24},
        }
    )
    model = HaMeR(config, mano_standin()).eval()
    out = model({"img": torch.randn(2, 3, image_size, image_size)})
    assert out["pred_vertices"].shape == (2, 778, 3)
    assert out["pred_keypoints_2d"].shape == (2, 21, 2)
    rows, columns = config.backbone.grid
    assert model.encode(torch.randn(1, 3, image_size, image_size)).shape == (1, rows * columns, 24)
    assert (rows, columns) == (img_size[0] // 16, img_size[1] // 16)


def test_the_middle_columns_may_be_cut_beforehand() -> None:
    model, img = case_model("small_grid"), tensors("small_grid.inputs0")["img"]
    assert torch.equal(model.encode(img), model.encode(img[..., 32:96]))


def test_key_points_project_into_the_crop() -> None:
    """`pred_keypoints_2d` is what the camera of `pred_cam_t` and `focal_length` sees, in crops."""
    out = run(case_model("small_grid", torch.float64), tensors("small_grid.inputs0")["img"].double())
    camera = out["pred_keypoints_3d"] + out["pred_cam_t"][:, None]
    pixels = out["focal_length"][:, None] * camera[..., :2] / camera[..., 2:]
    assert torch.allclose(pixels / 128, out["pred_keypoints_2d"])


def test_training_reaches_every_weight() -> None:
    model = case_model("small_grid").train()
    for block in model.backbone.blocks:
        block.drop_path = nn.Identity()
    out = model({"img": tensors("small_grid.inputs0")["img"]})
    (out["pred_vertices"].square().sum() + out["pred_cam"].square().sum()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A query alone cannot choose what it attends to; its embedding's input is zero.
    unused = ("to_token_embedding.weight",)
    assert [name for name in without if not name.endswith(unused) and "0.fn.to_qkv" not in name] == []


def test_recomputing_blocks_gives_the_same_gradients() -> None:
    img = tensors("small_grid.inputs0")["img"].double()
    gradients = []
    for use_checkpoint in (False, True):
        model = case_model("small_grid", torch.float64).train()
        for block in model.backbone.blocks:
            block.drop_path = nn.Identity()
        model.backbone.use_checkpoint = use_checkpoint
        model({"img": img})["pred_vertices"].square().sum().backward()
        gradients.append([p.grad for p in model.backbone.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(*gradients, strict=True))


def test_stochastic_depth_only_while_training() -> None:
    drop = DropPath(0.5)
    x = torch.ones(4000, 1, 1)
    assert set(drop(x).unique().tolist()) == {0.0, 2.0}
    assert drop(x).mean() == pytest.approx(1.0, abs=0.1)
    assert drop.eval()(x) is x
    rates = [
        getattr(block.drop_path, "drop_prob", 0.0) for block in ViT(case_config("small_grid").backbone).blocks
    ]
    assert rates == pytest.approx([0.0, 0.11, 0.22, 0.33, 0.44, 0.55])


def test_modes_can_be_chained_and_models_copied() -> None:
    model, img = case_model("small_grid"), tensors("small_grid.inputs1")["img"]
    assert model.backbone.train().eval() is model.backbone
    wanted = run(model, img)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert all(torch.equal(value, wanted[key]) for key, value in run(other, img).items())


def test_the_backbone_compiles_as_one_graph() -> None:
    model, img = case_model("small_grid"), tensors("small_grid.inputs1")["img"]
    model.backbone.blocks = model.backbone.blocks[:1]
    compiled = torch.compile(model.encode, fullgraph=True, backend="eager")
    assert torch.equal(compiled(img), model.encode(img))


def test_mean_parameters_are_where_predictions_start() -> None:
    mean = load_mean_params()
    model = HaMeR(case_config("small_grid"), load_mano(), mean)
    assert model.mano_head.init_hand_pose[0].tolist() == pytest.approx(mean.pose.tolist())
    with torch.no_grad():
        for decoder in (model.mano_head.decpose, model.mano_head.decshape, model.mano_head.deccam):
            decoder.weight.zero_()
    out = run(model.eval(), tensors("small_grid.inputs1")["img"])
    assert out["pred_cam"][0].tolist() == pytest.approx(mean.cam.tolist())
    assert out["betas"][0].tolist() == pytest.approx(mean.shape.tolist())


def test_without_mean_parameters_the_hand_is_at_rest() -> None:
    model = HaMeR(case_config("small_grid"), mano_standin())
    with torch.no_grad():
        model.mano_head.decpose.weight.zero_()
    out = run(model.eval(), tensors("small_grid.inputs1")["img"])
    assert torch.equal(out["hand_pose"], torch.eye(3).expand(1, 15, 3, 3))


def test_a_left_hand_model_is_refused() -> None:
    with pytest.raises(BodyModelError, match="right hands, found a left"):
        HaMeR(case_config("small_grid"), mano_standin().mirrored())


@pytest.mark.parametrize("shape", [(1, 3, 256, 256), (1, 1, 128, 128), (3, 128, 128), (1, 3, 128, 96)])
def test_other_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"HaMeR takes images \[B, 3, 128, 128\], found"):
        case_model("small_grid")({"img": torch.zeros(shape)})


def test_other_tokens_are_refused() -> None:
    with pytest.raises(InputError, match=r"the head reads tokens \[B, N, 64\] .* found \[2, 32, 63\]"):
        case_model("small_grid").predict(torch.zeros(2, 32, 63))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": {"embed_dim": 100, "num_heads": 16}}, "does not split into 16 heads"),
        ({"backbone": {"depth": 0}}, "at least one block"),
        ({"backbone": {"drop_path_rate": 1.5}}, "drop_path_rate"),
        ({"image_size": 224}, "does not fit the middle"),
        ({"decoder": {"context_dim": 64}}, "decoder reads 64 channels, the backbone has 1280"),
        ({"decoder": {"heads": 0}}, "decoder must be at least 1"),
        ({"backbone": {"dpeth": 3}}, r"has no \['dpeth'\]; it has"),
        ({"backbone": {"depth": "deep"}}, "depth should be like 32, found 'deep'"),
        ({"backbone": {"depth": 1.5}}, "depth should be like 32, found 1.5"),
        ({"backbone": 3}, "backbone should be like"),
        ({"image_mean": [0.5]}, "image_mean should be like"),
        ({"with_discriminator": "yes"}, "with_discriminator should be like"),
    ],
)
def test_impossible_configurations_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HaMeRConfig.from_dict(change)


def test_discriminator_scores_every_joint() -> None:
    pose = axis_angle_to_rotmat(torch.randn(4, 15, 3))
    judge = Discriminator()
    scores = judge(pose, torch.randn(4, 10))
    assert scores.shape == (4, 17)
    changed = pose.clone()
    changed[:, 7] = torch.eye(3)
    moved = (judge(changed, torch.zeros(4, 10)) - judge(pose, torch.zeros(4, 10))).abs().amax(0) > 0
    assert moved.tolist() == [joint in (7, 16) for joint in range(17)]
