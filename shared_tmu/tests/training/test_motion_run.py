"""Both stages through Lightning: a stopped run continues as if it had not stopped, and ends measured."""

import json
from dataclasses import replace

import pytest
import torch
from scipy.spatial.transform import Rotation
from toy_hand_model import ToyHand, toy_program

from shared_tmu.body_models import load_mano
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.errors import CheckpointError, ConfigError
from shared_tmu.pictures.geometry import axis_angle_to_rotmat
from shared_tmu.programs.features import FrameFeature
from shared_tmu.temporal.config import PRESETS
from shared_tmu.temporal.model import MotionDecoder
from shared_tmu.training.drawing import cores
from shared_tmu.training.motion.clip_features import ClipFeatures
from shared_tmu.training.motion.denoiser_stage import ConditionedWindows, ReadClips
from shared_tmu.training.motion.measuring import measure
from shared_tmu.training.motion.pool import MotionPool
from shared_tmu.training.motion.recipe import MotionRecipe, MotionStage
from shared_tmu.training.motion.run import RECIPE, _plain, run_motion, train_decoder
from shared_tmu.training.stopping import Stopped

FRAMES, FEATURES = 8, 5
SIZES = {"frames": FRAMES, "latents": 4, "dim": 96, "hidden": 16, "vae_layers": 1, "denoiser_layers": 1}


class PosedToy(ToyHand):
    """Also says how the hand is posed, which depends on the picture."""

    def forward(self, batch):
        output = super().forward(batch)
        turns = 0.1 * output["pred_vertices"][:, :16]
        pose = axis_angle_to_rotmat(turns / turns.norm(dim=-1, keepdim=True))
        betas = output["pred_vertices"][:, :10, 0]
        params = {"global_orient": pose[:, :1], "hand_pose": pose[:, 1:], "betas": betas}
        return {**output, "pred_mano_params": params}


class StopAt:
    """Asks once to stop after a step."""

    def __init__(self, step=None) -> None:
        self.step, self.waits = step, False

    def install(self) -> None:
        pass

    def agreed(self, trainer) -> bool:
        return self.step is not None and trainer.global_step == self.step

    def end(self) -> None:
        raise Stopped(15)


@pytest.fixture(scope="module")
def layer():
    return ManoLayer(load_mano())


@pytest.fixture(scope="module")
def clips():
    generator = torch.Generator().manual_seed(0)
    rotmat = torch.tensor(Rotation.random(2 * FRAMES * 16, random_state=0).as_matrix()).float()
    rotmat = rotmat.reshape(2, FRAMES, 16, 3, 3)
    return ReadClips(
        feature=torch.randn(2, 1, FRAMES, FEATURES, generator=generator),
        pred_rotmat=rotmat[:, None],
        pred_betas=torch.zeros(2, 1, FRAMES, 10),
        rotmat=rotmat,
        betas=torch.zeros(2, FRAMES, 10),
    )


def recipe(out, **change):
    stage = MotionStage(steps=4, batch_size=3, lr=1e-3, warmup=1)
    given = {"motions": 3, "clips": 2, "schedules": ["off"], "sizes": SIZES, "save_every": 2}
    return MotionRecipe(**{"out": out, "cache": out, "vae": stage, "denoiser": stage, **given, **change})


def test_a_stopped_run_ends_with_the_same_weights(layer, clips, tmp_path, monkeypatch):
    whole = train_decoder(layer, "mark", clips, recipe(tmp_path / "whole"), StopAt())
    for stop in (StopAt(3), StopAt()):
        try:
            found = train_decoder(layer, "mark", clips, recipe(tmp_path / "parts"), stop)
        except Stopped:
            assert not (tmp_path / "parts" / "denoiser").exists()
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, atol=1e-5, rtol=1e-4)
    again = train_decoder(layer, "mark", clips, recipe(tmp_path / "parts"), StopAt())  # nothing is left to do
    for name, value in found.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)
    with pytest.raises(CheckpointError, match="motions=3, but 4"):
        train_decoder(layer, "mark", clips, recipe(tmp_path / "parts", motions=4), StopAt())
    with pytest.raises(CheckpointError, match="for other weights"):
        train_decoder(layer, "other", clips, recipe(tmp_path / "parts"), StopAt())
    changed = {"thin": replace(PRESETS["thin"], draws=3)}
    monkeypatch.setattr("shared_tmu.training.motion.recipe.PRESETS", changed)
    with pytest.raises(CheckpointError, match="all_sizes"):
        train_decoder(layer, "mark", clips, recipe(tmp_path / "parts"), StopAt())


def test_a_run_from_before_a_setting_existed_is_told_so(layer, clips, tmp_path):
    asked = recipe(tmp_path)
    facts = json.loads(json.dumps(_plain(asked)))
    del facts["blind"]
    (tmp_path / RECIPE).write_text(json.dumps({**facts, "trunk": "mark"}))
    with pytest.raises(CheckpointError, match="an older version, before there was blind"):
        train_decoder(layer, "mark", clips, asked, StopAt())


@pytest.mark.parametrize(("blind", "least", "most"), [(0.0, 0, 0), (0.5, 20, 44), (1.0, 64, 64)])
def test_some_rows_do_not_see_their_features(layer, clips, tmp_path, blind, least, most):
    asked = recipe(tmp_path, blind=blind, simulated=0.0, denoiser=MotionStage(steps=1, batch_size=64))
    pool = MotionPool.made(layer, 0, FRAMES, asked.sources)
    mean = torch.full((FEATURES,), 7.0)
    ((conditions, _),) = ConditionedWindows(clips, pool, layer, mean, asked, lambda: 0)
    is_mean = (conditions[..., :FEATURES] == 7.0).flatten(1).all(1)
    assert least <= int(is_mean.sum()) <= most
    assert not (conditions[..., FEATURES:] == 7.0).any()
    assert not (clips.conditions(layer)[..., :FEATURES] == 7.0).any()  # the clips stay as they are


def test_measured_errors_are_those_of_the_head_and_of_the_decoder(layer, clips, tmp_path):
    decoder = train_decoder(layer, "mark", clips, recipe(tmp_path), StopAt())
    (row,) = measure(decoder, layer, clips, ["off"])["rows"]
    assert row["head_mpjpe_mm"] == pytest.approx(0, abs=1e-3)  # here the head is right
    assert row["decoder_mpjpe_mm"] > 1
    assert row["decoder_jitter_mm"] < row["head_jitter_mm"]  # motion of a spline
    assert row["guess_jitter_mm"] < row["head_jitter_mm"]
    untrained = MotionDecoder(decoder.config).eval()
    untrained.load_state_dict(decoder.state_dict())
    torch.nn.init.zeros_(untrained.denoiser.change.weight)
    torch.nn.init.zeros_(untrained.denoiser.change.bias)
    (same,) = measure(untrained, layer, clips, ["off"])["rows"]
    for error in ("mpjpe_mm", "accel_error_mm"):
        assert same[f"decoder_{error}"] == pytest.approx(row[f"guess_{error}"], rel=1e-4)
        assert row[f"decoder_{error}"] != pytest.approx(row[f"guess_{error}"], rel=1e-4)
    json.dumps(row)


@pytest.mark.skipif(cores() < 2, reason="one processor core")
def test_one_device_trains(tmp_path):
    program, asked = toy_program(tmp_path / "toy", PosedToy()), recipe(tmp_path / "out", devices=2)
    with pytest.raises(ConfigError, match=r"devices=2 gives 2 devices here, but .* use devices=1"):
        run_motion(program, asked, StopAt())


def test_features_of_clips_are_made_once(tmp_path):
    model = PosedToy()
    program = toy_program(tmp_path / "toy", model)
    made = ClipFeatures(program, model, tmp_path, seed=5, frames=3, schedules=["off", "3x2"])
    with pytest.raises(ConfigError, match="declares no feature"):
        made.make(1)
    made = replace(made, program=replace(program, feature=FrameFeature("backbone", tokens=2)))
    (path,) = made.make(1)
    read = ReadClips.read([path])
    assert read.feature.shape[:3] == (1, 2, 3)
    assert read.pred_rotmat.shape == (1, 2, 3, 16, 3, 3)
    torch.testing.assert_close(torch.linalg.det(read.rotmat), torch.ones(1, 3, 16))
    assert (read.feature[0, 0] - read.feature[0, 1]).abs().max() > 1e-3
    stamp = path.stat().st_mtime_ns
    assert made.make(1)[0].stat().st_mtime_ns == stamp
    assert replace(made, schedules=["off"]).folder != made.folder
