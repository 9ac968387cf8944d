"""What holds for a WiLoR of any size."""

import pytest
import torch
from folder import FOLDER
from suites.hand_model import HandModelSuite
from torch import nn

from shared_tmu.body_models import load_mano, load_mean_params
from shared_tmu.errors import ConfigError, InputError
from wilor_tmu.model import WiLoR, WiLoRConfig
from wilor_tmu.model.refine import FeaturePyramid, sample_pixels


class TestModel(HandModelSuite):
    folder = FOLDER


@pytest.mark.parametrize("count", [18 + 31, 18 + 33, 32])
def test_the_refinement_needs_the_whole_grid(count: int) -> None:
    message = rf"full 8 x 4 grid after the 18 task tokens, \[B, 50, 64\], found \[2, {count}, 64\]"
    with pytest.raises(InputError, match=message):
        FOLDER.case_model("small_grid").predict(torch.zeros(2, count, 64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"refine_scales": 0}, "refine_scales must be from 1 to 16"),
        ({"backbone": {"embed_dim": 12, "num_heads": 2}}, "3 scales halves the 12 channels"),
        ({"image_size": 32, "backbone": {"img_size": [32, 16]}}, r"\(2, 1\) has too few"),
    ],
)
def test_impossible_refinements_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WiLoRConfig.from_dict(change)


def test_task_tokens_start_apart() -> None:
    """Joints with nearly the same mean rotation must not start with nearly the same token."""
    model = WiLoR(FOLDER.sized(32), load_mano(), load_mean_params())
    tokens = model.backbone.task_tokens_for(1)[0, :16].detach()
    gaps = torch.cdist(tokens, tokens) + 9 * torch.eye(16)
    assert gaps.min() > 0.1 * tokens.norm(dim=1).mean()


@pytest.mark.parametrize("scales", [1, 2, 4])
def test_pyramids_of_any_height(scales: int) -> None:
    maps = FeaturePyramid(32, scales)(torch.randn(2, 32, 4, 3))
    assert [m.shape for m in maps] == [(2, 32 >> (i + 1), 4 << i, 3 << i) for i in reversed(range(scales))]


def test_sampling_between_pixels_by_hand() -> None:
    ramp = torch.arange(12.0).reshape(1, 1, 3, 4)
    points = torch.tensor([[[0.0, 0.0], [3.0, 2.0], [0.5, 1.0], [-0.5, 0.0], [9.0, 0.0]]])
    assert sample_pixels(ramp, points).flatten().tolist() == pytest.approx([0, 11, 4.5, 0, 0], abs=1e-5)
    half = sample_pixels(ramp.half(), points)
    assert half.dtype == torch.float32


def test_the_refinement_corrects_the_estimate() -> None:
    """With silent last layers the output is the estimate itself."""
    model = FOLDER.case_model("small_grid")
    for layer in (model.refine_net.dec_pose, model.refine_net.dec_cam, model.refine_net.dec_shape):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    img = FOLDER.tensors("small_grid.inputs0")["img"]
    with torch.no_grad():
        _, betas, camera = model.backbone.decode(model.encode(img))
        out = model({"img": img})
    assert torch.equal(out["pred_cam"], camera)
    assert torch.equal(out["pred_mano_params"]["betas"], betas)
