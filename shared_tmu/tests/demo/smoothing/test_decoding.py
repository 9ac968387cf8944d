"""The temporal decoder in clips: order of frames, gaps, what stays as it was, and `demo.py --decoder`."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from clip_runs import FRAMES, run, write_clip
from test_smoothing import CAMERA, LAYER, PosedHand, a_hand
from toy_demo import write_boxes
from toy_hand_model import program_of

from shared_tmu.demo.options import parse_options
from shared_tmu.demo.predict import FEATURE, Prediction
from shared_tmu.demo.smoothing.decoding import BRIDGED, ClipDecoder, unlike_training
from shared_tmu.demo.smoothing.poses import HandPoses
from shared_tmu.detect import Detection, HandBox
from shared_tmu.errors import InputError
from shared_tmu.programs.features import FrameFeature
from shared_tmu.synth.motion import FPS as TRAINED_FPS
from shared_tmu.temporal.config import FPS, TemporalConfig
from shared_tmu.temporal.files import DecoderFacts, decoder_path, mark_weights, save_decoder
from shared_tmu.temporal.model import MotionDecoder
from shared_tmu.temporal.skeletons import HAND

WIDTH = 4
SIZES = TemporalConfig(
    "hand", 9, 5, 96, 16, 4, 1, 1, condition=WIDTH + HAND.width, low_pass=True, anchor=True
)


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return ClipDecoder(MotionDecoder(SIZES).eval(), HandPoses(LAYER))


def frame(number, *tracks):
    boxes, found = [], []
    for track in tracks:
        rng = np.random.default_rng([number, track])
        boxes.append(HandBox((0.0, 0.0, 40.0, 40.0), is_right=True, track=track))
        feature = rng.normal(size=WIDTH).astype(np.float32)
        found.append(Prediction({**a_hand(rng), FEATURE: feature}))
    return SimpleNamespace(
        source=SimpleNamespace(key=str(number)),
        detection=Detection(boxes),
        crops=[None] * len(boxes),
        predictions=found,
        unsmoothed=[],
        size_px=(CAMERA.width, CAMERA.height),
    )


def numbers(jobs):
    return [int(job.source.key) for job in jobs]


@pytest.mark.parametrize("count", [1, 5, 9, 10, 40])
def test_frames_come_back_in_order_and_in_time(decoder, count):
    waiting, back = 0, []
    for number in range(count):
        out = list(decoder.take(frame(number, 0)))
        waiting += 1 - len(out)
        back += numbers(out)
        assert waiting <= decoder.delay
    back += numbers(decoder.finish())
    assert back == list(range(count))


def test_shape_and_camera_stay_and_the_feature_leaves(decoder):
    jobs = [frame(number, 0) for number in range(12)]
    before = [dict(job.predictions[0].output) for job in jobs]
    out = [job for one in jobs for job in decoder.take(one)] + list(decoder.finish())
    for job, old in zip(out, before, strict=True):
        new = job.predictions[0].output
        assert set(new) == set(old) - {FEATURE}
        for name in ("betas", "pred_cam"):
            np.testing.assert_array_equal(new[name], old[name])
        np.testing.assert_array_equal(job.unsmoothed[0].output["hand_pose"], old["hand_pose"])
        assert np.abs(new["hand_pose"] - old["hand_pose"]).max() > 1e-3
        rotmats = torch.from_numpy(np.concatenate((new["global_orient"], new["hand_pose"])))[None]
        made = LAYER(rotmats[:, :1], rotmats[:, 1:], torch.from_numpy(new["betas"])[None])
        np.testing.assert_allclose(made.vertices[0], new["pred_vertices"], atol=1e-6)


def test_tracks_do_not_mix(decoder):
    both = [frame(number, 0, 1) for number in range(12)]
    alone = [frame(number, 1) for number in range(12)]
    found = []
    for jobs in (both, alone):
        stage = ClipDecoder(decoder.decoder, HandPoses(LAYER))
        out = [job for one in jobs for job in stage.take(one)] + list(stage.finish())
        found.append([job.predictions[-1].output["hand_pose"] for job in out])
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_a_bad_frame_stays_as_it_is_and_is_a_gap(decoder):
    jobs, gap = [[frame(n, 0, 1) for n in range(20)] for _ in range(2)]
    jobs[7].predictions[0].output["betas"][3] = np.nan
    gap[7] = frame(7, 1)
    found = []
    for given in (jobs, gap):
        stage = ClipDecoder(decoder.decoder, HandPoses(LAYER))
        out = [job for one in given for job in stage.take(one)] + list(stage.finish())
        assert numbers(out) == list(range(20))
        found.append([[one.output["hand_pose"] for one in job.predictions] for job in out])
    head = frame(7, 0).predictions[0].output["hand_pose"]
    np.testing.assert_array_equal(found[0][7].pop(0), head)
    for ours, wanted in zip(*found, strict=True):
        np.testing.assert_allclose(ours, wanted, atol=1e-5)


def test_gaps_are_bridged_and_long_ones_end_a_track(decoder):
    shown = [0, 1, 2, 6, 7, 7 + BRIDGED + 1, 7 + BRIDGED + 2]
    back, early = [], None
    for number in range(shown[-1] + 1):
        out = numbers(decoder.take(frame(number, *([0] if number in shown else []))))
        back += out
        if number == 7 + BRIDGED + 1:
            early = list(back)
    back += numbers(decoder.finish())
    assert back == list(range(shown[-1] + 1))
    assert 7 in early  # the first part did not wait for the end of the clip
    assert len(decoder._tracks) == 0


@pytest.fixture
def posed(tmp_path):
    """A program with a decoder beside its weights."""
    (tmp_path / "toy").mkdir()
    weights = tmp_path / "toy" / "t.safetensors"
    feature = FrameFeature("backbone")
    with torch.inference_mode(), feature.captured(model := PosedHand().eval()) as seen:
        model({"img": torch.zeros(1, 3, 64, 64)})
    sizes = TemporalConfig(**{**SIZES.as_dict(), "condition": seen[0].shape[1] + HAND.width})
    save_decoder(decoder_path(weights), MotionDecoder(sizes), DecoderFacts("Toy", mark_weights(model), {}))
    return program_of(tmp_path / "toy", lambda *_: PosedHand().eval(), weights, feature=feature)


def test_the_demo_is_steadier_with_the_decoder(posed, tmp_path, caplog):
    clip = write_clip(tmp_path / "in" / "clip.mp4", frames=3 * FRAMES)
    boxes = write_boxes(tmp_path / "b.json", {
        "clip.mp4": [{"box_xyxy": [30, 20, 70, 70], "is_right": True},
                     {"box_xyxy": [90, 30, 130, 80], "is_right": False}]})  # fmt: skip
    saved, about = {}, {}
    for name, flags in (("plain", ()), ("decoded", ("--decoder", "diffusion"))):
        out = tmp_path / name
        assert run(posed, clip, out, "--no-overlays", *flags, boxes=boxes) == 0
        saved[name], about[name] = np.load(out / "clip.npz"), json.loads((out / "clip.json").read_text())
    assert saved["decoded"]["frame_index"].tolist() == saved["plain"]["frame_index"].tolist()
    np.testing.assert_array_equal(saved["decoded"]["betas"], saved["plain"]["betas"])
    jitter = about["decoded"]["jitter"]
    assert jitter["joints"]["m_per_s2"] < 0.8 * jitter["before_smoothing"]["joints"]["m_per_s2"]
    assert about["decoded"]["decoder_asked"] == "diffusion"
    assert caplog.text.count("100% of these last longer or shorter") == 1  # the clip has 10 frames/s


def test_models_and_inputs_without_a_decoder_are_refused(posed, tmp_path):
    with pytest.raises(InputError, match=r"--decoder reads all frames .* only --video and --camera have"):
        parse_options(posed, ["--decoder", "diffusion"])
    clip = write_clip(tmp_path / "in" / "clip.mp4")
    decoder_path(posed.default_checkpoint).unlink()
    assert run(posed, clip, tmp_path / "out", "--decoder", "diffusion") == 1


def test_frames_that_last_as_in_training_are_not_mentioned():
    assert FPS == TRAINED_FPS
    even, rng = np.arange(60) / FPS, np.random.default_rng(0)
    for times in (even, even * 30 / 29.97, even * 30 / 25, even + rng.uniform(0, 0.003, 60), even[:1], []):
        assert not unlike_training(times)
    dropped = np.delete(even, [20, 40])
    assert not unlike_training(dropped)


@pytest.mark.parametrize(("fps", "told"), [(15, "1/15 s"), (60, "1/60 s"), (24, ""), (20, "1/20 s")])
def test_frames_that_last_otherwise_are_mentioned(fps, told):
    said = unlike_training(np.arange(60) / fps)
    assert told in said
    assert ("100% of these" in said) == bool(told)


def test_uneven_frames_are_mentioned():
    assert "40% of these" in unlike_training(np.cumsum([1 / 30] * 31 + [1 / 10] * 20))
