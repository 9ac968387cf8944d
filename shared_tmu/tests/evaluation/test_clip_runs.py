"""Evaluation of clips: errors of motion, plans that frames hold, the temporal decoder, and filters."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from clip_sizes import CLIPS, FRAMES
from toy_hand_model import ToyHand, toy_program

from shared_tmu.body_models import load_mano
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.datasets import open_dataset
from shared_tmu.evaluation import main
from shared_tmu.evaluation.clip_plans import ClipPlans
from shared_tmu.evaluation.per_sample import read_per_sample
from shared_tmu.pictures.geometry import axis_angle_to_rotmat
from shared_tmu.programs.features import FrameFeature
from shared_tmu.programs.results import read_records
from shared_tmu.temporal.config import TemporalConfig
from shared_tmu.temporal.files import DecoderFacts, decoder_path, mark_weights, save_decoder
from shared_tmu.temporal.model import MotionDecoder
from shared_tmu.temporal.skeletons import HAND

pytestmark = pytest.mark.usefixtures("short_clips")


@pytest.fixture
def run(tmp_path):
    def call(*flags, dataset="synthhand-clips", folder="toy"):
        program = toy_program(tmp_path / folder, ToyHand())
        common = ["--dataset", dataset, "--device", "cpu", "--rounds", "0"]
        status = main(program, [*common, *flags])
        return status, read_records(tmp_path / folder / "results" / f"toy-{dataset}.jsonl")

    return call


def errors(tmp_path, record, folder="toy"):
    return read_per_sample(tmp_path / folder / "results" / record["files"]).errors


def test_the_set_is_made_on_first_use_and_cut_by_frames():
    data = open_dataset("synthhand-clips", None)
    assert (len(data), data.clip_bounds) == (10, [(0, 5), (5, 10)])
    assert data.head(7).clip_bounds == [(0, 5), (5, 7)]
    assert data.load(6)["clip"] == 1
    assert data.is_complete
    assert len(set(data.sample_ids)) == 10


def test_one_line_per_schedule_and_kind_of_plans(run, tmp_path):
    status, records = run("--r", "off,20x2", "--plans", "free,held", "--batch_size", "3")
    assert status == 0
    assert [r["label"] for r in records] == ["off", "20x2", "20x2-held"]
    assert [r["hold"] for r in records] == [False, False, True]
    for record in records:
        assert {"mpjpe_mm", "pa_mpjpe_mm", "accel_error_mm", "jitter_mm", "true_jitter_mm"} <= set(record)
        assert record["clips"] == CLIPS
    rows = errors(tmp_path, records[1])
    assert np.isnan(rows["accel_error_mm"]).tolist() == [True, False, False, False, True] * 2
    assert records[1]["minus_off_interval_95"]["accel_error_mm"] is not None


def test_the_first_frame_of_a_clip_decides_itself(run, tmp_path):
    _, (free, held) = run("--r", "20x2", "--plans", "free,held")
    both = [errors(tmp_path, record)["mpjpe_mm"] for record in (free, held)]
    np.testing.assert_allclose(both[0][[0, 5]], both[1][[0, 5]], atol=1e-6)


def test_held_plans_do_not_depend_on_the_batches(run, tmp_path):
    values = []
    for size in ("1", "4", "16"):
        _, (record,) = run("--r", "20x2", "--plans", "held", "--batch_size", size, folder=size)
        values.append(errors(tmp_path, record, size)["mpjpe_mm"])
    np.testing.assert_allclose(values[0], values[1], atol=1e-3)
    np.testing.assert_allclose(values[0], values[2], atol=1e-3)


def test_plans_are_made_anew_for_another_clip_or_picture():
    plans = ClipPlans()
    picture = torch.randn(1, 3, 32, 24, generator=torch.Generator().manual_seed(0)).repeat(5, 1, 1, 1)
    picture[3] = -picture[3]
    names = plans.of(picture, torch.tensor([0, 0, 1, 1, 1])).names
    assert names[0] == names[1] != names[2]
    assert len({names[2], names[3], names[4]}) == 3
    assert plans.of(picture[4:], torch.tensor([1])).names == [names[4]]


def test_single_pictures_have_no_plans_to_hold(run, caplog, monkeypatch):
    monkeypatch.setattr("shared_tmu.datasets.synthhand.OFFICIAL_COUNT", 2)
    status, _ = run("--r", "20x2", "--plans", "held", dataset="synthhand")
    assert status == 1
    assert "--plans held was asked for, but synthhand has single pictures" in caplog.text


def test_unknown_kinds_of_plans_are_named(run, caplog):
    assert run("--plans", "kept")[0] == 1
    assert "--plans 'kept' does not exist: use free, held or both" in caplog.text


class PosedToy(ToyHand):
    """Also says how the hand is posed; its mesh is that of the body model."""

    def __init__(self):
        super().__init__()
        self.mano = ManoLayer(load_mano())

    def forward(self, batch):
        output = super().forward(batch)
        turns = 0.1 * output["pred_vertices"][:, :16]
        pose = axis_angle_to_rotmat(turns / turns.norm(dim=-1, keepdim=True))
        betas = output["pred_vertices"][:, :10, 0]
        hand = self.mano(pose[:, :1], pose[:, 1:], betas)
        return {
            **output,
            "pred_vertices": hand.vertices,
            "pred_keypoints_3d": hand.keypoints,
            "pred_mano_params": {"global_orient": pose[:, :1], "hand_pose": pose[:, 1:], "betas": betas},
        }


@pytest.fixture
def posed(tmp_path):
    """Run a toy with poses, a feature, and a decoder that was not trained."""

    def call(*flags, model=None):
        model = model or PosedToy()
        program = toy_program(tmp_path / "posed", model)
        program = replace(program, feature=FrameFeature("backbone", tokens=1))
        sizes = TemporalConfig(
            "hand", 8, 4, 96, 32, 4, 1, 1, condition=16 + HAND.width, low_pass=True, anchor=True
        )
        facts = DecoderFacts("Toy", mark_weights(PosedToy()), {})
        save_decoder(decoder_path(program.default_checkpoint), MotionDecoder(sizes), facts)
        common = ["--dataset", "synthhand-clips", "--device", "cpu", "--rounds", "0"]
        status = main(program, [*common, *flags])
        return status, read_records(tmp_path / "posed" / "results" / "toy-synthhand-clips.jsonl"), model

    return call


def test_decoder_and_filters_share_the_predictions_of_frames(posed):
    flags = [
        "--r",
        "off,20x2",
        "--decoder",
        "none,diffusion",
        "--smooth",
        "none,one-euro,one-euro-both,savgol",
    ]
    status, records, model = posed(*flags)
    assert status == 0
    labels = {r["label"]: r for r in records}
    assert len(labels) == 16
    assert {"off", "off-diffusion", "20x2-one-euro", "20x2-diffusion-savgol"} <= set(labels)
    passes = -(-FRAMES // 16) * CLIPS
    assert model.calls <= 2 * passes + 16  # every schedule once, and one more per run counts tokens
    plain, decoded = labels["20x2"], labels["20x2-diffusion"]
    assert decoded["jitter_mm"] < plain["jitter_mm"]  # the motion of a spline
    assert decoded["decoder"] == "toy.decoder.safetensors"
    assert plain["decoder"] is None
    assert labels["off-one-euro"]["jitter_mm"] < labels["off"]["jitter_mm"]
    assert labels["off-one-euro"]["smooth"] == "one-euro"
    assert "decoder_sha256" in decoded


def test_the_decoder_keeps_shape_and_camera(posed, monkeypatch):
    from shared_tmu.evaluation import set_runner

    kept, real = [], set_runner.after_frames

    def spy(run, outputs, *rest):
        made = real(run, outputs, *rest)
        kept.append((outputs, made))
        return made

    monkeypatch.setattr(set_runner, "after_frames", spy)
    posed("--r", "off", "--decoder", "diffusion")
    ((before, after),) = kept
    for name in ("betas", "pred_cam", "box_center", "box_size"):
        np.testing.assert_array_equal(before[name], after[name])
    assert np.abs(before["pred_keypoints_3d"] - after["pred_keypoints_3d"]).max() > 1e-4


def test_a_decoder_of_other_weights_is_refused(posed, caplog):
    model = PosedToy()
    model.backbone.blocks[0].attn.proj.bias.data += 1
    assert posed("--decoder", "diffusion", model=model)[0] == 1
    assert "features of other weights" in caplog.text


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--decoder", "diffuse"), "--decoder 'diffuse' does not exist: use none, diffusion"),
        (("--smooth", "euro"), "--smooth 'euro' does not exist: use some of none, one-euro"),
        (("--decoder_file", "x.safetensors"), "x.safetensors would not be read"),
        (("--decoder", "diffusion", "--decoder_file", "no.safetensors"), "no.safetensors"),
    ],
)
def test_words_and_files_that_do_not_exist(run, caplog, flags, said):
    assert run(*flags)[0] == 1
    assert said in caplog.text


def test_single_pictures_cannot_be_smoothed(run, caplog, monkeypatch):
    monkeypatch.setattr("shared_tmu.datasets.synthhand.OFFICIAL_COUNT", 2)
    assert run("--r", "off", "--smooth", "savgol", dataset="synthhand")[0] == 1
    assert "--decoder or --smooth was asked for, but synthhand has single pictures" in caplog.text


def test_models_without_poses_are_refused_by_name(run, caplog):
    assert run("--r", "off", "--smooth", "savgol")[0] == 1
    assert "off-savgol needs global_orient, hand_pose, betas of every frame" in caplog.text
