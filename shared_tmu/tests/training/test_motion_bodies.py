"""Motion of bodies: clips of pybullet's layout on SMPL-X's skeleton, AMASS-layout bodies, and pools."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from humanoid_clips import moving, still, turned, write
from scipy.spatial.transform import Rotation
from test_motion_run import StopAt, recipe
from test_motion_training import write_amass

from shared_tmu.body_models import load_smplx
from shared_tmu.body_models.smplx_layer import SmplxLayer
from shared_tmu.errors import (
    CheckpointError,
    ConfigError,
    InputError,
    MissingAssetError,
    MissingDependencyError,
)
from shared_tmu.pictures.geometry import axis_angle_to_rotmat
from shared_tmu.synth.body.model import BodyPose, synth_body
from shared_tmu.temporal.posing import motion_features, motion_points, pose_of, rest_points
from shared_tmu.temporal.skeletons import BODY
from shared_tmu.training.kept_recipe import RECIPE, keep_recipe
from shared_tmu.training.motion import humanoid
from shared_tmu.training.motion.amass import read_amass_bodies
from shared_tmu.training.motion.denoiser_stage import ReadClips
from shared_tmu.training.motion.filming import FilmedBody, filming_of
from shared_tmu.training.motion.humanoid import LIMBS, find_clips, read_bodies, read_clip, retarget
from shared_tmu.training.motion.measuring import measure
from shared_tmu.training.motion.pool import MotionPool
from shared_tmu.training.motion.run import _plain, check_motion, train_decoder
from shared_tmu.training.motion.sources import MotionSources
from shared_tmu.training.motion.windows import windows_of

DOWN, FORWARD, LEFT = np.array([0.0, -1, 0]), np.array([0.0, 0, 1]), np.array([1.0, 0, 0])


@pytest.fixture(scope="module")
def layer():
    return SmplxLayer(load_smplx())


@pytest.fixture(scope="module")
def rest(layer):
    return rest_points(layer, torch.zeros(10)).double().numpy()


def bones(layer, pose):
    """Directions of the limbs of a body, by SMPL's joint: `[T, 3]` each."""
    rotmat = axis_angle_to_rotmat(torch.tensor(pose).float())
    points = motion_points(layer, rotmat, torch.zeros(len(pose), 10))[0].numpy()
    gaps = {joint: points[:, end] - points[:, joint] for joint, (_, end) in LIMBS.items()}
    return {joint: gap / np.linalg.norm(gap, axis=1, keepdims=True) for joint, gap in gaps.items()}


def pose_in(tmp_path, rows, rest):
    return retarget(read_clip(write(tmp_path / "clip.txt", rows)), rest)


def test_limbs_point_where_those_of_the_clip_point(layer, rest, tmp_path):
    clip = read_clip(write(tmp_path / "clip.txt", moving()))
    found = bones(layer, retarget(clip, rest))
    for joint, (name, _) in LIMBS.items():
        np.testing.assert_allclose(found[joint], clip.turned(name).apply(DOWN), atol=1e-5)


def test_a_person_at_rest_lets_the_arms_hang(layer, rest, tmp_path):
    for bone in bones(layer, pose_in(tmp_path, still(), rest)).values():
        np.testing.assert_allclose(bone, [DOWN] * 2, atol=1e-5)


def test_knees_bend_back_elbows_forward_and_left_is_left(layer, rest, tmp_path):
    rows = turned(turned(still(), "left_knee", -0.8), "right_elbow", 0.8)
    rows = turned(rows, "left_shoulder", Rotation.from_rotvec([np.pi / 2, 0, 0]))
    rows = turned(rows, "root", Rotation.from_rotvec([0, 0.5, 0]))
    found = bones(layer, pose_in(tmp_path, rows, rest))
    facing = Rotation.from_rotvec([0, 0.5, 0]).apply(FORWARD)
    assert found[4][0] @ facing == pytest.approx(-np.sin(0.8), abs=1e-4)
    assert found[19][0] @ facing == pytest.approx(np.sin(0.8), abs=1e-4)
    np.testing.assert_allclose(found[16][0], Rotation.from_rotvec([0, 0.5, 0]).apply(LEFT), atol=1e-4)


def test_trunk_and_head_turn_as_far_as_in_the_clip(rest, tmp_path):
    turn = Rotation.from_rotvec([0.1, 0.9, -0.2])
    pose = pose_in(tmp_path, turned(turned(still(), "chest", turn), "neck", turn), rest)[0]
    for chain in ((3, 6, 9), (12, 15)):
        total = Rotation.identity()
        for joint in chain:
            total = total * Rotation.from_rotvec(pose[joint])
        assert total.magnitude() == pytest.approx(turn.magnitude())


def test_turns_about_the_bone_are_kept(rest, tmp_path):
    """A forearm that is bent shows how the upper arm turns about itself."""
    rows = turned(turned(still(), "left_elbow", 1.2), "left_shoulder", Rotation.from_rotvec([0, 0.7, 0]))
    straight = pose_in(tmp_path, turned(rows, "left_elbow", 0.0), rest)[0, 16]
    resting = pose_in(tmp_path, still(), rest)[0, 16]
    turn = Rotation.from_rotvec(straight) * Rotation.from_rotvec(resting).inv()
    np.testing.assert_allclose(turn.as_rotvec(), [0, 0.7, 0], atol=1e-6)


def test_windows_have_the_asked_rate_and_length(rest, tmp_path):
    write(tmp_path / "a" / "long.txt", moving(181))  # 3 s at 60 frames/s
    write(tmp_path / "short.txt", moving(31))
    found = read_bodies(str(tmp_path), 40, 30.0, rest)
    assert [one.shape for one in found] == [
        (40, 24, 3)
    ] * 4  # three windows of 91 frames, the last from its end
    long, short = found[0], found[-1]
    np.testing.assert_allclose(short[16:31], short[14::-1], atol=1e-9)  # to and fro
    assert np.abs(np.diff(long, axis=0)).max() < 0.3


@pytest.mark.parametrize(("length", "frames"), [(1, 5), (2, 5), (7, 5), (5, 5), (10, 5)])
def test_windows_cover_everything(length, frames):
    rows = np.arange(length, dtype=float)[:, None]
    found = windows_of(rows, frames)
    assert all(len(one) == frames for one in found)
    assert {float(x) for one in found for x in one[:, 0]} == set(map(float, range(length)))
    assert all(np.abs(np.diff(one[:, 0])).max() <= 1 for one in found)


def test_files_that_are_no_motion_are_named(rest, tmp_path, caplog):
    write(tmp_path / "narrow.txt", still()[:, :20])
    write(tmp_path / "nan.txt", np.where(np.arange(44) == 9, np.nan, still()))
    write(tmp_path / "zero.txt", np.zeros((3, 44)) + np.eye(1, 44) * 0.1)
    write(tmp_path / "once.txt", still(1))
    (tmp_path / "cut.txt").write_text(json.dumps({"Frames": still().tolist()})[:100])
    (tmp_path / "list.txt").write_text("[1, 2]")
    (tmp_path / "deep.txt").write_text("[" * 10**5)
    (tmp_path / "ragged.txt").write_text('{"Frames": [[1, 2], [3]]}')
    with pytest.raises(InputError, match="none of 8 files"):
        read_bodies(str(tmp_path), 5, 30.0, rest)
    assert "narrow.txt has frames of shape [2, 20], expected at least two of 44" in caplog.text
    assert "zero.txt has a rotation without a length" in caplog.text
    for name in ("nan", "once", "cut", "list", "deep", "ragged"):
        assert f"{name}.txt" in caplog.text
    write(tmp_path / "good.txt", moving())
    assert len(read_bodies(str(tmp_path), 5, 30.0, rest)) > 1


def test_what_is_not_there_is_said(tmp_path, monkeypatch):
    with pytest.raises(MissingAssetError, match="has no motion files: humanoid=FOLDER"):
        find_clips(str(tmp_path / "nothing"))
    monkeypatch.setattr(humanoid, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"shared_tmu\[motion\]"):
        find_clips("pybullet")


def test_the_installed_package_is_read_without_importing_it(tmp_path, monkeypatch):
    clips = tmp_path / "pybullet_data" / "data" / "motions"
    (tmp_path / "pybullet_data").mkdir()
    (tmp_path / "pybullet_data" / "__init__.py").write_text("raise RuntimeError('imported')")
    for name in ("humanoid3d_walk.txt", "laikago_walk.txt", "walker/turn_left0.txt"):
        write(clips / name, moving())
    monkeypatch.syspath_prepend(tmp_path)
    assert [path.name for path in find_clips("pybullet")] == ["humanoid3d_walk.txt", "turn_left0.txt"]


def test_amass_bodies_stand_upright(layer, tmp_path):
    """In AMASS z is up and a person at rest is turned by a quarter about x."""
    poses = np.zeros((60, 156))
    poses[:, 0] = np.pi / 2
    poses[:, 3 * 18 + 1] = np.linspace(0, 1, 60)  # an elbow
    np.savez(tmp_path / "one.npz", poses=poses, mocap_framerate=30.0)
    (pose,) = read_amass_bodies(tmp_path, 60, 30.0)
    assert pose.shape == (60, 24, 3)
    np.testing.assert_allclose(pose[:, 0], 0.0, atol=1e-9)
    np.testing.assert_allclose(pose[:, 18, 1], poses[:, 55])
    write_amass(tmp_path / "x.npz", width=165)
    assert len(read_amass_bodies(tmp_path, 20, 30.0)) > 4


def test_a_pool_of_bodies_moves_upright_people(layer, tmp_path):
    write(tmp_path / "a.txt", turned(moving(), "root", Rotation.identity()))
    write_amass(tmp_path / "amass" / "b.npz", scale=0.1)
    sources = MotionSources(amass=tmp_path / "amass", humanoid=str(tmp_path))
    pools = [MotionPool.made(layer, 3, 12, sources) for _ in range(2)]
    assert torch.equal(pools[0].pose, pools[1].pose)
    assert torch.equal(pools[0].betas, pools[1].betas)
    only = MotionPool(pools[0].pose[:1], pools[0].betas[:1])
    rotmat, _ = only.draw(np.random.default_rng(0), 6, 12)
    assert rotmat.shape == (6, 12, 24, 3, 3)
    torch.testing.assert_close(torch.linalg.det(rotmat), torch.ones(6, 12, 24))
    up = rotmat[:, :, 0] @ torch.tensor([0.0, 1.0, 0.0])
    assert (up[..., 1] < -0.5).all()  # the camera's y points down


@pytest.mark.parametrize(
    ("sources", "is_body", "said"),
    [
        (MotionSources(humanoid="pybullet"), False, "these clips are of bodies"),
        (MotionSources(), False, "motions=0 leaves no motion"),
        (MotionSources(motions=5, humanoid="pybullet"), True, "these motions are of hands"),
        (MotionSources(), True, "use humanoid=pybullet or amass=FOLDER"),
    ],
)
def test_motion_of_something_else_is_refused(layer, sources, is_body, said):
    from shared_tmu.temporal.skeletons import HAND

    with pytest.raises(ConfigError, match=said):
        sources.check(BODY if is_body else HAND)


def test_a_body_returns_from_joints_and_twists(layer):
    """On SynthBody, for any shape."""
    rotmat = torch.tensor(Rotation.random(20 * 24, random_state=0).as_matrix()).float().reshape(20, 24, 3, 3)
    betas = torch.randn(20, 10, generator=torch.Generator().manual_seed(0))
    found = pose_of(layer, motion_features(layer, rotmat, betas), betas)
    turn = found.transpose(-1, -2) @ rotmat
    angle = torch.linalg.matrix_norm(turn - torch.eye(3)) / 2**0.5
    assert angle.max() < 2e-3  # single precision
    assert angle.median() < 1e-5


def test_points_are_those_of_the_body_model(layer, rest):
    shapes = ((3,), (21, 3), (15, 3), (15, 3), (3,))
    pose = BodyPose(*(np.zeros(shape, np.float32) for shape in shapes))
    person = synth_body().pose(pose, *np.zeros((2, 10), np.float32))
    np.testing.assert_allclose(rest[:22], person.joints[:22], atol=1e-5)
    head, left_tip, right_tip, left_toe, right_toe = rest[24:]
    assert head[2] > rest[15, 2]  # the nose is in front
    assert left_tip[0] > rest[22, 0] > rest[20, 0] > 0 > rest[21, 0] > rest[23, 0] > right_tip[0]
    assert left_toe[0] > 0 > right_toe[0]
    assert left_toe[2] > rest[7, 2]


SIZES = {"frames": 8, "latents": 4, "dim": 144, "hidden": 16, "vae_layers": 1, "denoiser_layers": 1}


def test_both_stages_learn_bodies(layer, tmp_path):
    write(tmp_path / "motion" / "a.txt", moving())
    given = recipe(tmp_path / "out", motions=0, humanoid=str(tmp_path / "motion"), sizes=SIZES)
    check_motion(layer, given)
    rotmat = (
        torch.tensor(Rotation.random(2 * 8 * 24, random_state=0).as_matrix()).float().reshape(2, 8, 24, 3, 3)
    )
    nothing = torch.zeros(2, 1, 8, 10)
    clips = ReadClips(torch.randn(2, 1, 8, 5), rotmat[:, None], nothing, rotmat, nothing[:, 0])
    decoder = train_decoder(layer, "mark", clips, given, StopAt())
    assert decoder.config.skeleton == "body"
    assert decoder.config.condition == 5 + BODY.width
    (row,) = measure(decoder, layer, clips, ["off"])["rows"]
    assert row["head_mpjpe_mm"] == pytest.approx(0, abs=1e-2)
    assert np.isfinite(row["decoder_mpjpe_mm"])


def test_other_files_in_a_folder_of_the_same_name_are_other_motion(layer, tmp_path):
    def clips_of(sources):
        return filming_of(SimpleNamespace(body_layer="layer"), SimpleNamespace(layer=layer), sources).facts

    one, two = (tmp_path / name / "AMASS" for name in ("one", "two"))
    for folder, scale in ((one, 0.1), (two, 0.2)):
        write_amass(folder / "a.npz", scale=scale)
    write(tmp_path / "motion" / "b.txt", moving())
    asked = [MotionSources(amass=folder, humanoid=str(tmp_path / "motion")) for folder in (one, two)]
    assert clips_of(asked[0]) != clips_of(asked[1])
    given = recipe(tmp_path / "out", motions=0, amass=one)
    (tmp_path / "out").mkdir()
    keep_recipe(tmp_path / "out" / RECIPE, _plain(given), is_new=True)
    keep_recipe(tmp_path / "out" / RECIPE, _plain(given), is_new=False)
    with pytest.raises(CheckpointError, match=r"with motion_files=1 files, digest .* but 1 files, digest"):
        keep_recipe(tmp_path / "out" / RECIPE, _plain(replace(given, amass=two)), is_new=False)
    before = clips_of(asked[0])
    write_amass(one / "c.npz", scale=0.1)
    assert clips_of(asked[0]) != before
    assert clips_of(MotionSources(humanoid="pybullet")) == {"humanoid": "pybullet", "amass": None}


def test_sizes_that_do_not_fit_a_body_are_said_before_training(layer, tmp_path):
    with pytest.raises(ConfigError, match="at least 133"):
        check_motion(layer, recipe(tmp_path, motions=0, humanoid="pybullet", sizes={"dim": 96}))


def test_a_filmed_body_is_who_is_said(rest, tmp_path):
    pose = pose_in(tmp_path, moving(3), rest)
    clip = FilmedBody(pose, 5, 1, np.random.default_rng(0))
    crops = clip.crops(0)
    assert crops.shape == (3, 3, 256, 192)
    assert 0 <= crops.min() < crops.max() <= 1
    assert clip.pose.shape == (3, 24, 3)
    np.testing.assert_array_equal(clip.pose[:, 1:22], pose[:, 1:22])
    assert (crops[0] - crops[2]).abs().mean() > 1e-3
    torch.testing.assert_close(crops, clip.crops(0))
    assert (crops - clip.crops(1)).abs().mean() > 1e-3  # another reading has other boxes
