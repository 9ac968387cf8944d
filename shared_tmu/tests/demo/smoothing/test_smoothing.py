"""Smoothed tracks: predictions to motions and back, frames in order, and the demo with `--smooth`."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from clip_runs import FRAMES, run, write_clip
from scipy.spatial.transform import Rotation
from smplx_standin import smplx_standin
from toy_demo import MANO, ToyDemoHand, write_boxes
from toy_hand_model import program_of

from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.body_models.smplx_layer import SmplxLayer
from shared_tmu.body_models.smplx_model import KEYPOINT_PELVIS
from shared_tmu.demo.options import parse_options
from shared_tmu.demo.predict import Prediction
from shared_tmu.demo.smoothing.hands import HandMotions
from shared_tmu.demo.smoothing.people import BodyMotions
from shared_tmu.demo.smoothing.stage import Smoother
from shared_tmu.demo.subjects import HANDS, PEOPLE
from shared_tmu.detect import Detection, HandBox, PersonBox
from shared_tmu.errors import InputError
from shared_tmu.pictures.geometry import axis_angle_to_rotmat
from shared_tmu.programs.tables import ImageCamera
from shared_tmu.temporal.smoothing.kinds import AROUND, SMOOTHERS
from shared_tmu.temporal.smoothing.motion import Motion

PICTURE = np.zeros((240, 320, 3), np.uint8)
CAMERA = ImageCamera.of_image(320, 240, None)
LAYER = ManoLayer(MANO)


def a_hand(rng):
    turns = torch.tensor(rng.normal(0, 0.5, (1, 16, 3)), dtype=torch.float32)
    rotmats, betas = axis_angle_to_rotmat(turns), torch.tensor(rng.normal(0, 1, (1, 10)), dtype=torch.float32)
    made = LAYER(rotmats[:, :1], rotmats[:, 1:], betas)
    output = {"pred_vertices": made.vertices, "pred_keypoints_3d": made.keypoints, "betas": betas}
    output |= {"global_orient": rotmats[:, :1], "hand_pose": rotmats[:, 1:]}
    output["pred_cam"] = torch.tensor([[0.9, 0.05, -0.1]])
    return {name: values[0].numpy() for name, values in output.items()}


@pytest.mark.parametrize("is_right", [True, False])
def test_a_hand_comes_back(is_right):
    output, box = a_hand(np.random.default_rng(0)), HandBox((100, 80, 180, 190), is_right)
    crop = HANDS.crop(PICTURE, box, 2.0, (256, 256))
    codec = HandMotions(LAYER)
    seen = codec.read(output, box, crop, CAMERA)
    (back,) = codec.write([output], [seen], [box], [crop], CAMERA)
    assert set(back) == set(output)
    for name, values in output.items():
        np.testing.assert_allclose(back[name], values, atol=2e-6, err_msg=name)
        assert back[name].dtype == np.float32
    further = Motion(seen.rotations, seen.shape, seen.place + np.array((0.01, 0, np.log(2))), seen.size)
    (moved,) = codec.write([output], [further], [box], [crop], CAMERA)
    before, after = (HANDS.record(one, box, crop, CAMERA).values["translation_m"] for one in (output, moved))
    assert after[2] == pytest.approx(2 * before[2])
    np.testing.assert_allclose(after[:2] / after[2] - before[:2] / before[2], (0.01, 0), atol=1e-6)


def a_person(layer, rng):
    sizes = {"root": 3, "body": 63, "lhand": 45, "rhand": 45, "jaw": 3}
    poses = {
        f"smplx_{name}_pose": rng.normal(0, 0.2, size).astype(np.float32) for name, size in sizes.items()
    }
    output = {
        **poses,
        "smplx_shape": rng.normal(0, 1, 10).astype(np.float32),
        "smplx_expr": rng.normal(0, 1, 10).astype(np.float32),
        "cam_trans": np.array([0.1, -0.3, 40.0], np.float32),
    }
    names = ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose", "jaw_pose")
    params = dict(zip(names, poses.values(), strict=True))
    params |= {"betas": output["smplx_shape"], "expression": output["smplx_expr"]}
    given = {name: torch.tensor(values)[None] for name, values in params.items()}
    made = layer(**given, transl=torch.tensor(output["cam_trans"])[None])
    points = made.keypoints[0].numpy()
    output["smplx_mesh_cam"], output["smplx_root_cam"] = made.vertices[0].numpy(), points[KEYPOINT_PELVIS]
    output["smplx_joint_cam"] = points - points[KEYPOINT_PELVIS]
    return output


def test_a_person_comes_back():
    rng, layer = np.random.default_rng(1), SmplxLayer(smplx_standin())
    output = a_person(layer, rng)
    box = PersonBox((60.0, 20.0, 160.0, 230.0))
    crop = PEOPLE.crop(PICTURE, box, 1.2, (512, 384))
    codec = BodyMotions(layer)
    (back,) = codec.write([output], [codec.read(output, box, crop, CAMERA)], [box], [crop], CAMERA)
    assert set(back) == set(output)
    for name, values in output.items():
        np.testing.assert_allclose(back[name], values, atol=3e-5, err_msg=name)
        assert back[name].dtype == np.float32
    records = [PEOPLE.record(one, box, crop, CAMERA).values for one in (output, back)]
    np.testing.assert_allclose(records[1]["translation_m"], records[0]["translation_m"], atol=1e-4)


class Numbers:
    """Predictions that are one number, as motions."""

    def read(self, output, box, crop, camera):
        return Motion(Rotation.identity(1), np.zeros(1), np.full(3, float(output["x"])), 1.0)

    def write(self, outputs, motions, boxes, crops, camera):
        return [{"x": one.place[0]} for one in motions]


def frame(number, **tracks):
    """Numbers by track: right hands `a`, `b`, ...; `A` is a left hand of track `a`."""
    boxes = [HandBox((0, 0, 1, 1), name.islower(), track=ord(name.lower())) for name in tracks]
    predictions = [Prediction({"x": value}) for value in tracks.values()]
    return SimpleNamespace(
        source=SimpleNamespace(key=str(number)), detection=Detection(tuple(boxes)), crops=[None] * len(boxes),
        predictions=predictions, unsmoothed=[], size_px=(320, 240),
    )  # fmt: skip


def smoothed(kind, jobs):
    stage = Smoother(kind, Numbers(), lambda index: index / 25, None)
    given = [list(stage.take(job)) for job in jobs]
    last = list(stage.finish())
    return given, last


@pytest.mark.parametrize("kind", SMOOTHERS)
def test_frames_come_back_in_order_and_in_time(kind):
    jobs = [frame(n, a=float(n)) if n % 7 else frame(n) for n in range(40)]
    given, last = smoothed(kind, jobs)
    order = [int(job.source.key) for job in (*itertools.chain(*given), *last)]
    assert sorted(order) == list(range(40))
    shown = [n for n in order if n % 7]
    assert shown == sorted(shown)
    for n, jobs_now in enumerate(given):
        assert all(n - int(job.source.key) <= SMOOTHERS[kind] for job in jobs_now)
    assert len(last) <= AROUND


@pytest.mark.parametrize("kind", SMOOTHERS)
def test_tracks_and_sides_do_not_mix(kind):
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 30))
    together = [frame(n, a=a[n], b=b[n]) if n % 2 else frame(n, b=b[n], a=a[n], A=c[n]) for n in range(30)]
    alone = [frame(n, b=b[n]) for n in range(30)]

    def values(jobs, track):
        given, last = smoothed(kind, jobs)
        done = sorted((*itertools.chain(*given), *last), key=lambda job: int(job.source.key))
        return [
            one.output["x"]
            for job in done
            for one, box in zip(job.predictions, job.detection.boxes, strict=True)
            if (box.track, box.is_right) == (ord(track), True)
        ]

    assert values(together, "b") == values(alone, "b")
    assert values(alone, "b") != b.tolist()


@pytest.mark.parametrize("kind", SMOOTHERS)
def test_a_bad_frame_stays_as_it_is_and_harms_no_other(kind):
    """Nor the other tracks in that frame."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 30))
    bad = (0, 12, 29)
    jobs = [frame(n, a=np.nan if n in bad else a[n], b=b[n]) for n in range(30)]
    without = [frame(n, b=b[n]) if n in bad else frame(n, a=a[n], b=b[n]) for n in range(30)]
    found = []
    for given in (jobs, without):
        ready, last = smoothed(kind, given)
        found.append(
            [[one.output["x"] for one in job.predictions] for job in (*itertools.chain(*ready), *last)]
        )
    assert [row[-1] for row in found[0]] == [row[-1] for row in found[1]]
    for n, (ours, wanted) in enumerate(zip(*found, strict=True)):
        assert np.isnan(ours[0]) if n in bad else ours[0] == wanted[0]


def test_what_lies_behind_the_camera_is_not_smoothed():
    output, box = a_hand(np.random.default_rng(0)), HandBox((100, 80, 180, 190), True)
    output["pred_cam"] = output["pred_cam"] * np.float32(-1)
    crop = HANDS.crop(PICTURE, box, 2.0, (256, 256))
    assert HandMotions(LAYER).read(output, box, crop, CAMERA) is None
    layer = SmplxLayer(smplx_standin())
    output, box = a_person(layer, np.random.default_rng(0)), PersonBox((100, 40, 180, 220))
    crop = PEOPLE.crop(PICTURE, box, 1.2, (256, 192))
    output["smplx_root_cam"] = np.array([0.0, 0.0, -1.0], np.float32)
    assert BodyMotions(layer).read(output, box, crop, CAMERA) is None


@pytest.mark.parametrize("kind", SMOOTHERS)
def test_nothing_is_kept_of_tracks_that_are_gone(kind):
    stage = Smoother(kind, Numbers(), lambda index: index / 25, None)
    for n in range(2000):
        list(stage.take(frame(n, **{"abcdefghijklmnopqrst"[n // 100]: 1.0})))
    assert len(stage._seen) <= 2
    assert len(stage._filters) <= 2


class PosedHand(ToyDemoHand):
    """A hand that its parameters pose, which the picture makes shake."""

    def __init__(self):
        super().__init__()
        self.mano = ManoLayer(MANO)

    def forward(self, batch):
        out = super().forward(batch)
        made = self.mano(**out["pred_mano_params"])
        return {**out, "pred_vertices": made.vertices, "pred_keypoints_3d": made.keypoints}


@pytest.fixture
def posed(tmp_path):
    (tmp_path / "toy").mkdir()
    return program_of(tmp_path / "toy", lambda *_: PosedHand().eval(), tmp_path / "toy" / "t.safetensors")


@pytest.mark.parametrize("kind", SMOOTHERS)
def test_the_demo_is_steadier_and_says_by_how_much(posed, tmp_path, capsys, kind):
    clip = write_clip(tmp_path / "in" / "clip.mp4", frames=3 * FRAMES)
    boxes = write_boxes(tmp_path / "b.json", {
        "clip.mp4": [{"box_xyxy": [30, 20, 70, 70], "is_right": True},
                     {"box_xyxy": [90, 30, 130, 80], "is_right": False}]})  # fmt: skip
    about = {}
    for name, flags in (("plain", ()), (kind, ("--smooth", kind))):
        out = tmp_path / name
        assert run(posed, clip, out, "--no-overlays", *flags, boxes=boxes) == 0
        about[name] = json.loads((out / "clip.json").read_text())
    before = about["plain"]["jitter"]
    after = dict(about[kind]["jitter"])
    assert "before_smoothing" not in before
    assert after.pop("before_smoothing") == {
        part: pytest.approx(values, rel=1e-6) for part, values in before.items()
    }
    for part in ("joints", "camera"):  # every frame of this clip is another picture
        assert after[part]["m_per_s2"] < 0.8 * before[part]["m_per_s2"]
    assert "before smoothing" in capsys.readouterr().out
    saved = np.load(tmp_path / kind / "clip.npz")
    assert not any(name.startswith("unsmoothed") for name in saved.files)
    assert saved["frame_index"].tolist() == sorted([*range(3 * FRAMES)] * 2)
    for index in (0, 5, 30):  # the mesh is that of the saved parameters
        mirror = 1.0 if saved["is_right"][index] else -1.0
        signs = np.array([mirror, 1, 1])[:, None] * np.array([mirror, 1, 1])
        rotmats = np.concatenate(
            (saved["global_orient_rotmat"][index : index + 1], saved["hand_pose_rotmat"][index])
        )
        turned = torch.tensor(rotmats * signs)[None].float()
        made = LAYER(turned[:, :1], turned[:, 1:], torch.tensor(saved["betas"][index])[None])
        np.testing.assert_allclose(
            made.vertices[0].numpy() * (mirror, 1, 1), saved["vertices_m"][index], atol=1e-5
        )
    assert about[kind]["smooth_asked"] == kind


def test_off_is_the_default(posed, tmp_path):
    """That a clip then has the numbers of its frames as pictures, bit for bit, is tested with videos."""
    clip = write_clip(tmp_path / "in" / "clip.mp4")
    assert parse_options(posed, ["--video", str(clip)]).clip.smooth is None
    with pytest.raises(InputError, match="only --video and --camera have"):
        parse_options(posed, ["--smooth", "savgol"])
