"""The temporal decoder on people: what it reads of predictions, and what it changes in them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from smplx_standin import smplx_standin
from test_smoothing import CAMERA, a_person

from shared_tmu.body_models.smplx_layer import SmplxLayer
from shared_tmu.body_models.smplx_model import KEYPOINT_PELVIS
from shared_tmu.demo.predict import FEATURE, Prediction
from shared_tmu.demo.smoothing.decoding import ClipDecoder
from shared_tmu.demo.smoothing.poses import BodyPoses
from shared_tmu.detect import Detection, PersonBox
from shared_tmu.pictures.geometry import axis_angle_to_rotmat
from shared_tmu.temporal.config import TemporalConfig
from shared_tmu.temporal.model import MotionDecoder
from shared_tmu.temporal.skeletons import BODY

WIDTH = 4
SIZES = TemporalConfig(
    "body", 9, 5, 144, 16, 4, 1, 1, condition=WIDTH + BODY.width, low_pass=True, anchor=True
)


@pytest.fixture(scope="module")
def layer():
    return SmplxLayer(smplx_standin())


def test_a_person_with_the_same_pose_is_the_same(layer):
    output, poses = a_person(layer, np.random.default_rng(0)), BodyPoses(layer)
    rotmat, betas = poses.read(output)
    assert rotmat.shape == (24, 3, 3)
    np.testing.assert_array_equal(betas, output["smplx_shape"])
    new = poses.write(output, rotmat)
    for name, values in new.items():
        np.testing.assert_allclose(values, output[name], atol=3e-5, err_msg=name)
        assert values.dtype == np.float32
    assert not {"smplx_lhand_pose", "smplx_rhand_pose", "smplx_jaw_pose", "smplx_shape"} & set(new)


def test_fingers_count_with_their_mean(layer):
    output = a_person(layer, np.random.default_rng(0))
    rotmat, _ = BodyPoses(layer).read(output)
    for row, side, mean in ((22, "l", layer.left_hand_mean), (23, "r", layer.right_hand_mean)):
        turn = torch.tensor(output[f"smplx_{side}hand_pose"])[9:12] + mean.flatten()[9:12]
        torch.testing.assert_close(rotmat[row], axis_angle_to_rotmat(turn[None])[0])


def test_another_pose_moves_the_mesh_about_the_pelvis(layer):
    output, poses = a_person(layer, np.random.default_rng(0)), BodyPoses(layer)
    rotmat, _ = poses.read(output)
    turn = axis_angle_to_rotmat(torch.tensor([[0.0, 0.7, 0.0]]))[0]
    rotmat = torch.cat(((turn @ rotmat[0])[None], rotmat[1:]))
    new = poses.write(output, rotmat)
    np.testing.assert_allclose(new["smplx_root_cam"], output["smplx_root_cam"], atol=1e-6)
    pelvis = output["smplx_root_cam"]
    turned = (output["smplx_mesh_cam"] - pelvis) @ turn.numpy().T + pelvis
    np.testing.assert_allclose(new["smplx_mesh_cam"], turned, atol=1e-3)  # 40 m away, in single precision
    np.testing.assert_array_equal(new["smplx_joint_cam"][KEYPOINT_PELVIS], 0)


def test_people_of_a_clip_are_decoded(layer):
    torch.manual_seed(0)
    decoder = ClipDecoder(MotionDecoder(SIZES).eval(), BodyPoses(layer))
    out, before = [], []
    for number in range(12):
        rng = np.random.default_rng(number)
        before.append(a_person(layer, rng))
        feature = rng.normal(size=WIDTH).astype(np.float32)
        job = SimpleNamespace(
            source=SimpleNamespace(key=str(number)),
            detection=Detection((PersonBox((0.0, 0.0, 40.0, 90.0), track=0),)),
            predictions=[Prediction({**before[-1], FEATURE: feature})],
            unsmoothed=[],
            size_px=(CAMERA.width, CAMERA.height),
        )
        out += decoder.take(job)
    out += decoder.finish()
    assert [job.source.key for job in out] == [str(number) for number in range(12)]
    for job, old in zip(out, before, strict=True):
        new = job.predictions[0].output
        assert set(new) == set(old)
        kept = ("smplx_shape", "smplx_expr", "smplx_lhand_pose", "smplx_jaw_pose", "smplx_root_cam")
        for name in kept:
            np.testing.assert_array_equal(new[name], old[name])
        assert np.abs(new["smplx_body_pose"] - old["smplx_body_pose"]).max() > 1e-3
    shaken, steady = (
        np.abs(np.diff([one["smplx_body_pose"] for one in many], 2, axis=0)).mean()
        for many in (before, [job.predictions[0].output for job in out])
    )
    assert steady < 0.8 * shaken  # motion of a spline
