"""Training of the temporal decoder at toy size: what it must beat, what must stay as it is, and resuming."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from toy_motion import STEPS, ToyMotion, errors, ridge, sizes, train, trained_denoiser, trained_vae

from shared_tmu.body_models import load_mano
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.errors import ConfigError, InputError, MissingAssetError, TrainingError
from shared_tmu.temporal.denoiser import LatentDenoiser
from shared_tmu.training.motion.amass import read_hands
from shared_tmu.training.motion.denoiser_stage import DenoiserTraining
from shared_tmu.training.motion.pool import MotionPool
from shared_tmu.training.motion.recipe import MotionRecipe, MotionStage
from shared_tmu.training.motion.sources import MotionSources
from shared_tmu.training.motion.turns import unwrapped
from shared_tmu.training.motion.vae_stage import require_finite


@pytest.fixture(scope="module")
def toy():
    return ToyMotion()


@pytest.fixture(scope="module")
def with_vae(toy):
    return trained_vae(toy.draw)


@pytest.fixture(scope="module")
def trained(toy, with_vae):
    return trained_denoiser(with_vae, toy.draw)


def test_it_beats_a_regression_of_single_frames_on_held_out_clips(toy, trained):
    truth, seen = toy.draw(50, 8)
    head = ridge(*toy.draw(300, 7)[::-1])
    ours = trained.sample(seen, torch.Generator().manual_seed(0))
    (error, accel), (ridge_error, ridge_accel) = errors(ours, truth), errors(head(seen), truth)
    assert error < ridge_error
    assert accel < 0.5 * ridge_accel


def test_predicting_noise_instead_of_velocity_is_at_least_twice_as_bad(toy, trained):
    """From the last step that has any signal: at the very last one, noise says nothing about the latents."""
    model = deepcopy(trained)
    torch.manual_seed(1)
    model.denoiser = LatentDenoiser(sizes())
    optimizer = torch.optim.Adam(model.denoiser.parameters(), lr=2e-3)
    for step in range(STEPS):
        motion, features = toy.draw(16, 5000 + step)
        latents = model.latents_of(motion).detach()
        time, drawn = torch.randint(1000, (16,)), torch.randn_like(latents)
        guess = model.velocity(model.noise.mix(latents, drawn, time), time, features)
        optimizer.zero_grad()
        (guess - drawn).square().mean().backward()
        optimizer.step()
    truth, seen = toy.draw(50, 8)
    noise = torch.randn(50, sizes().latents, sizes().dim, generator=torch.Generator().manual_seed(0))
    time = torch.full((50,), model.noise.last - 1)
    signal, share = model.noise.shares(time, noise)
    with torch.no_grad():
        latents = (noise - share * model.velocity(noise, time, seen)) / signal
        from_noise = errors(model.motion_of(latents), truth)[0]
    own = errors(trained.sample(seen, torch.Generator().manual_seed(0)), truth)[0]
    assert own < 0.5 * from_noise


def test_seeds_hardly_matter(toy, trained):
    _, seen = toy.draw(20, 9)
    found = torch.stack([trained.sample(seen, torch.Generator().manual_seed(seed)) for seed in range(8)])
    motion = toy.draw(200, 10)[0]
    assert found.std(0).mean() < 0.1 * motion.flatten(0, 1).std(0).mean()


def test_the_second_stage_leaves_the_vae_alone(toy, with_vae):
    before = {name: value.clone() for name, value in with_vae.vae.state_dict().items()}
    stage = DenoiserTraining(with_vae, MotionStage(steps=3), last_share=0.5)
    stage.log_dict = lambda *_: None
    train(stage, with_vae.denoiser.parameters(), lambda step: toy.draw(4, step)[::-1], 3)
    assert all(p.grad is None for p in with_vae.vae.parameters())
    assert all(torch.equal(before[name], value) for name, value in with_vae.vae.state_dict().items())
    optimizer = stage.configure_optimizers()["optimizer"]
    owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert not owned & {id(p) for p in with_vae.vae.parameters()}


@pytest.fixture(scope="module")
def layer():
    return ManoLayer(load_mano())


def test_pools_are_repeatable_and_move(layer):
    pools = [MotionPool.made(layer, 3, 12, MotionSources(motions=4)) for _ in range(2)]
    assert torch.equal(pools[0].pose, pools[1].pose)
    rotmat, betas = pools[0].draw(np.random.default_rng(0), 6, 12)
    assert rotmat.shape == (6, 12, 16, 3, 3)
    assert betas.shape == (6, 12, 10)
    torch.testing.assert_close(torch.linalg.det(rotmat), torch.ones(6, 12, 16))
    steps = (rotmat[:, 1:] - rotmat[:, :-1]).flatten(3).norm(dim=-1)
    assert steps.max() < 0.9  # no jumps, also where axis-angle passes half a turn
    assert steps.mean() > 1e-3


def test_turns_are_followed_past_half_a_turn():
    angles = np.linspace(0, 4 * np.pi, 50)
    vectors = np.zeros((50, 3))
    vectors[:, 2] = (angles + np.pi) % (2 * np.pi) - np.pi
    np.testing.assert_allclose(np.diff(unwrapped(vectors)[:, 2]), 4 * np.pi / 49, atol=1e-9)


def write_amass(path, frames=200, width=156, rate=60.0, scale=0.5, **more):
    rng = np.random.default_rng(0)
    waves = np.sin(np.linspace(0, 9, frames)[:, None] * rng.uniform(0.5, 1, width)) * scale
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{"poses": waves, "mocap_framerate": rate, "betas": np.zeros(16), **more})


def test_amass_folders_give_moving_hands(layer, tmp_path):
    write_amass(tmp_path / "a" / "walk.npz")
    write_amass(tmp_path / "b" / "grab.npz", width=165)
    write_amass(tmp_path / "still.npz", scale=0.0)
    found = read_hands(tmp_path, 45, 30.0)
    assert [len(one) for one in found] == [45] * 8  # two windows for each of both hands in two files
    assert {one.shape for one in found} == {(45, 16, 3)}
    pool = MotionPool.made(layer, 0, 20, MotionSources(motions=2, amass=tmp_path))
    assert len(pool) > 2


def test_a_mirrored_left_hand_is_a_right_hand(tmp_path):
    """A body that is its own mirror image gives the same hand twice."""
    rng = np.random.default_rng(1)
    fingers = np.cumsum(rng.normal(0, 0.02, (100, 45)), 0)
    poses = np.zeros((100, 156))
    mirror = np.tile([1.0, -1.0, -1.0], 15)
    poses[:, 66:111], poses[:, 111:] = fingers * mirror, fingers
    poses[:, 3 * 20 : 3 * 20 + 3], poses[:, 3 * 21 : 3 * 21 + 3] = [0.1, -0.2, -0.3], [0.1, 0.2, 0.3]
    np.savez(tmp_path / "one.npz", poses=poses, mocap_framerate=30.0)
    left, right = read_hands(tmp_path, 100, 30.0)
    np.testing.assert_allclose(left, right, atol=1e-9)


def test_files_that_are_no_motion_are_named(tmp_path, caplog):
    with pytest.raises(MissingAssetError, match=r"has no \.npz files"):
        read_hands(tmp_path, 10, 30.0)
    np.savez(tmp_path / "objects.npz", poses=np.array([{}], dtype=object), mocap_framerate=30.0)
    np.savez(tmp_path / "shape.npz", betas=np.zeros(10), mocap_framerate=30.0)
    with pytest.raises(InputError, match="none of 2 files"):
        read_hands(tmp_path, 10, 30.0)
    assert "objects.npz cannot be read" in caplog.text
    assert "shape.npz has no poses" in caplog.text


def recipe(tmp_path, **change):
    given = {
        "out": tmp_path / "out", "cache": tmp_path / "cache", "vae": MotionStage(2),
        "denoiser": MotionStage(2),
    }  # fmt: skip
    return MotionRecipe(**{**given, **change})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"preset": "thick"}, "preset=thick was asked for; use one of paper"),
        ({"sizes": {"condition": 3}}, "sizes.condition is not a setting"),
        ({"sizes": {"depth": 3}}, "depth is no size"),
        ({"schedules": []}, "schedules is empty"),
        ({"schedules": ["8y4"]}, "schedules: cannot read '8y4'"),
        ({"val_seed": 51}, "both 51"),
        ({"simulated": 1.5}, "simulated"),
        ({"blind": -0.1}, "blind"),
    ],
)
def test_recipes_that_cannot_run_are_refused(tmp_path, change, said):
    with pytest.raises(ConfigError, match=said):
        recipe(tmp_path, **change)


def test_a_loss_that_is_not_finite_ends_training():
    with pytest.raises(TrainingError, match="step 7: the loss is NaN"):
        require_finite(torch.tensor(float("nan")), 7)
