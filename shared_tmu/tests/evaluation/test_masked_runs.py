"""Evaluations with masks: what is drawn, what lines say, what is refused, what is kept; and stability."""

import numpy as np
import pytest
import torch
from freihand_folder import write_freihand
from toy_hand_model import ToyHand, patch, toy_program

from shared_tmu import HeldPlans
from shared_tmu.datasets import SetOptions, open_dataset
from shared_tmu.detect import HandBox
from shared_tmu.errors import InputError
from shared_tmu.evaluation import main, parse_settings
from shared_tmu.evaluation.batches import load_batch
from shared_tmu.evaluation.masking import key_of
from shared_tmu.evaluation.stability import add_noise
from shared_tmu.masks import MASKS, ProbeFacts, TokenProbe, weights_before
from shared_tmu.method_parts.protection import WEIGHT
from shared_tmu.pictures.hand_crops import STD
from shared_tmu.programs.results import read_records


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_freihand(folder / "freihand", count=5, size_px=56)
    return folder


@pytest.fixture
def run(tmp_path, data_dir):
    """Run a command line on a toy program; returns (status, records, model)."""

    def call(*flags):
        model = ToyHand()
        common = [
            "--dataset",
            "freihand",
            "--data_dir",
            str(data_dir),
            "--batch_size",
            "3",
            "--device",
            "cpu",
        ]
        status = main(toy_program(tmp_path / "toy", model), [*common, "--rounds", "0", *flags])
        return status, read_records(tmp_path / "toy" / "results" / "toy-freihand.jsonl"), model

    return call


def test_how_far_one_sample_moves_tells_nothing_about_others(run):
    _, (record,), _ = run("--r", "20x2", "--stability", "1", "--limit", "1", "--rounds", "0")
    assert record["stability_mm"] > 0
    assert record["stability_interval_95"] is None
    assert record["interval_95"] == {}


def test_masks_are_runs_of_their_own_and_say_what_they_did(run, data_dir):
    status, records, model = run("--r", "off,20x2", "--mask", "none,box,truth", "--stability", "2")
    assert status == 0
    assert [r["label"] for r in records] == ["off", "20x2", "20x2-mask-box", "20x2-mask-truth"]
    assert [r["mask"] for r in records] == ["none", "none", "box", "truth"]
    assert [r["tokens_kept"] for r in records] == [64, 24, 24, 24]
    _, plain, box, truth = records
    assert (plain["mask_tokens"], plain["mask_missing"], plain["mask_share"]) == (None, None, None)
    assert 0 < truth["mask_tokens"] <= box["mask_tokens"] < 64
    assert truth["mask_missing"] == box["mask_missing"] == 2  # hands outside their small pictures
    assert truth["mask_ms"] > 0
    assert truth["mask_share_quartiles"][0] <= truth["mask_share"] <= truth["mask_share_quartiles"][1]
    for record in records:
        assert record["stability_n"] == 2
        assert record["orientation_error_deg"] >= 0
        assert record["scale_error_pct"] >= abs(record["scale_bias_pct"]) - 1e-9
        assert "orientation_error_deg" in record["interval_95"]
    for name in ("stability_mm", "noise_mm"):
        assert len({r[name] for r in records}) == 4
    data = open_dataset("freihand", data_dir, SetOptions(model.config))
    batch = load_batch(data, range(2), torch.device("cpu"), ("box",))
    tokens = torch.nn.functional.max_pool2d(batch[key_of("box")].float()[:, None], 8).bool().flatten(1)
    moved = []
    with torch.inference_mode(), patch(model, "20x2") as handle, handle.masked(WEIGHT * tokens):
        still = model(batch)["pred_keypoints_3d"]
        for shift in ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)):
            away = load_batch(data, range(2), torch.device("cpu"), ("box",), shift)
            shifted = torch.nn.functional.max_pool2d(away[key_of("box")].float()[:, None], 8)
            with handle.masked(WEIGHT * shifted.flatten(1)):
                moved.append((model(away)["pred_keypoints_3d"] - still).norm(dim=-1).mean())
    assert box["stability_mm"] == pytest.approx(1000 * float(torch.stack(moved).mean()), rel=1e-4)


def test_held_plans_are_measured_beside_free_ones(run, data_dir):
    flags = ("--r", "off,20x2", "--method", "tome,tofu", "--stability", "2")
    status, (off, tome, tofu), model = run(*flags)
    assert status == 0
    assert off["held_mm"] == off["stability_mm"]
    assert "held_mm" not in tofu  # it does more than merge
    data = open_dataset("freihand", data_dir, SetOptions(model.config))
    moved, plans = [], HeldPlans()
    batch = load_batch(data, range(2), torch.device("cpu"), ())
    with torch.inference_mode(), patch(model, "20x2") as handle, handle.holding(plans, ["a", "b"]):
        still = model(batch)["pred_keypoints_3d"]
        for shift in ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)):
            away = model(load_batch(data, range(2), torch.device("cpu"), (), shift))
            moved.append((away["pred_keypoints_3d"] - still).norm(dim=-1).mean())
    assert tome["held_mm"] != tome["stability_mm"]
    assert tome["held_mm"] == pytest.approx(1000 * float(torch.stack(moved).mean()), rel=1e-4)


@pytest.mark.parametrize("is_normalised", [True, False])
def test_noise_is_one_grey_level_whatever_is_in_a_batch(is_normalised):
    img = torch.rand(3, 3, 8, 6)
    noisy = add_noise(img, range(4, 7), is_normalised=is_normalised)
    alone = add_noise(img[1:2], range(5, 6), is_normalised=is_normalised)
    assert torch.equal(noisy[1], alone[0])
    std = torch.tensor(STD if is_normalised else (1.0, 1.0, 1.0)).view(3, 1, 1)
    levels = 255 * std * (noisy - img)
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
    assert set(levels.round().flatten().tolist()) == {-1.0, 0.0, 1.0}


def test_a_finished_mask_is_kept_and_another_is_done(run):
    run("--r", "20x2", "--mask", "box")
    _, records, model = run("--r", "20x2", "--mask", "box,truth")
    assert [r["mask"] for r in records] == ["box", "truth"]
    assert model.calls <= 4 + 9  # two batches, and what counts tokens; what times the mask


def test_samples_without_a_mask_are_counted_and_told(run, capsys, monkeypatch):
    monkeypatch.setattr("shared_tmu.datasets.hand_meshes.find_subject", lambda *given: None)
    _, (plain, record), _ = run("--r", "20x2", "--mask", "none,landmarks")
    assert (record["mask_missing"], record["mask_tokens"]) == (5, 0.0)
    assert record["pa_mpvpe_mm"] == plain["pa_mpvpe_mm"]
    assert (
        "20x2-mask-landmarks: 5 of 5 samples merged without a mask (the detector gave"
        in capsys.readouterr().out
    )


def test_masks_that_are_read_and_choices(run, monkeypatch, tmp_path):
    monkeypatch.setattr("shared_tmu.datasets.hand_meshes.find_subject", lambda *given: None)
    vit, folder = ToyHand().backbone, tmp_path / "toy"
    folder.mkdir()
    file = folder / "toy.probe.safetensors"
    probe = TokenProbe(torch.ones(16), torch.tensor(0.0))
    probe.save(file, ProbeFacts("Toy", weights_before(vit, 0), {}))
    status, records, _ = run(
        *("--r", "20x2", "--mask", "probe,attention,landmarks+probe,landmarks+box,box,box+probe"),
        *("--stability", "2"),
    )
    assert status == 0
    by_mask = {record["mask"]: record for record in records}
    assert list(by_mask) == ["probe", "attention", "landmarks+probe", "landmarks+box", "box", "box+probe"]
    score, name = "pa_mpvpe_mm", "mask_tokens"
    assert by_mask["probe"][score] == by_mask["landmarks+probe"][score]  # no landmarks are found
    assert by_mask["box"][score] == by_mask["landmarks+box"][score]
    assert len({by_mask[mask][score] for mask in ("probe", "attention", "box", "box+probe")}) == 4
    assert 0 < by_mask["probe"][name] < 64
    assert by_mask["box"]["mask_missing"] == 2
    assert by_mask["box+probe"]["mask_missing"] == 0
    assert by_mask["box+probe"][name] > by_mask["box"][name]
    assert {record["mask_weight"] for record in records} == {WEIGHT}
    for record in records:
        assert record["mask_share"] > 0
        assert record["stability_mm"] > 0
        assert ("probe_sha256" in record) == ("probe" in record["mask"])
    _, records, _ = run("--r", "20x2", "--mask", "none,box", "--background", "first")
    assert [r["label"] for r in records[-2:]] == ["20x2", "20x2-mask-box-first"]
    assert [r["mask_weight"] for r in records[-2:]] == [None, None]
    assert records[-1][score] != by_mask["box"][score]
    assert run("--r", "20x2", "--mask", "probe")[0] == 0
    probe.save(file, ProbeFacts("Toy", "other", {}))
    assert run("--r", "20x2", "--mask", "probe")[0] == 1


def test_landmarks_are_what_the_detector_finds(data_dir, monkeypatch):
    points = np.full((21, 2), 28.0)
    monkeypatch.setattr(
        "shared_tmu.datasets.hand_meshes.find_subject",
        lambda *given: HandBox((0, 0, 9, 9), True, landmarks_px=points),
    )
    data = open_dataset("freihand", data_dir, SetOptions(ToyHand().config))
    crop = data.load(0)
    scene = data.scene(0, crop, with_detector=True)
    at = scene.to_crop(points)[0]
    assert at.tolist() == pytest.approx([32.0, 32.0])  # the picture's middle is the crop's
    assert data.scene(0, crop, with_detector=False).landmarks_px is None
    assert MASKS["keypoints"].draw(scene) is not None


def test_masks_that_cannot_be_are_refused_by_name(run, tmp_path, monkeypatch, caplog):
    program = toy_program(tmp_path / "toy")
    with pytest.raises(InputError, match="no mask 'magic'"):
        parse_settings(program, ["--mask", "magic"])
    with pytest.raises(InputError, match="'dct' mixes all"):
        parse_settings(program, ["--mask", "box", "--method", "dct"])
    with pytest.raises(InputError, match="only videos have"):
        parse_settings(program, ["--mask", "previous"])
    with pytest.raises(InputError, match="does not exist: train one with python -m"):
        parse_settings(program, ["--mask", "probe"])
    with pytest.raises(InputError, match="no mask reads it"):
        parse_settings(program, ["--mask", "box", "--probe", "p.safetensors"])
    monkeypatch.setattr(
        "shared_tmu.datasets.hand_meshes.HandMeshSet.lacking",
        lambda self, source: "there is none" if source.of_truth else None,
    )
    status, records, _ = run("--r", "20x2", "--mask", "truth,box")
    assert status == 1
    assert [r["mask"] for r in records] == ["box"]
    assert "Not evaluated: 20x2-mask-truth on freihand: there is none." in caplog.text
