"""Masks from the frame before in an evaluation of clips: where, for which frames, the same in every batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from clip_sizes import CLIPS, FRAMES
from toy_hand_model import ToyHand, toy_program

from shared_tmu.datasets import SetOptions, open_dataset
from shared_tmu.evaluation import main
from shared_tmu.evaluation.batches import load_batch
from shared_tmu.evaluation.clip_masks import ClipMasks
from shared_tmu.evaluation.masking import key_of
from shared_tmu.evaluation.per_sample import read_per_sample
from shared_tmu.masks import MASKS, Outline
from shared_tmu.programs.model_program import BASELINE
from shared_tmu.programs.results import read_records
from shared_tmu.schedule import Schedule

pytestmark = pytest.mark.usefixtures("short_clips")


@pytest.fixture
def run(tmp_path):
    """Run a command line on clips; returns (status, records, errors by label)."""

    def call(*flags, dataset="synthhand-clips", folder="toy"):
        program = toy_program(tmp_path / folder, ToyHand())
        status = main(program, ["--dataset", dataset, "--device", "cpu", "--rounds", "0", *flags])
        results = tmp_path / folder / "results"
        records = read_records(results / "toy-synthhand-clips.jsonl")
        found = {one["label"]: read_per_sample(results / one["files"]).errors for one in records}
        return status, records, found

    return call


def test_the_first_frame_of_a_clip_has_none_and_others_have(run):
    status, records, errors = run("--r", "20x2", "--mask", "none,previous,previous+box")
    assert status == 0
    plain, alone, choice = records
    assert (plain["mask_missing"], alone["mask_missing"], choice["mask_missing"]) == (None, CLIPS, 0)
    assert 0 < alone["mask_tokens"] < choice["mask_tokens"] < 64
    assert alone["mask_share"] > 0
    changed = [~np.isclose(errors["20x2"]["mpjpe_mm"], errors[f"20x2-mask-{mask}"]["mpjpe_mm"], atol=1e-6)
               for mask in ("previous", "previous+box")]  # fmt: skip
    first = np.arange(CLIPS * FRAMES) % FRAMES == 0
    assert not changed[0][first].any()
    assert changed[0][~first].any()
    assert changed[1][first].any()


@pytest.mark.parametrize("plans", ["free", "held"])
def test_it_does_not_depend_on_the_batches(run, plans):
    found = []
    for size in ("1", "3", "16"):
        flags = ("--r", "20x2", "--mask", "previous", "--plans", plans, "--batch_size", size)
        _, (record,), errors = run(*flags, folder=size)
        found.append(errors[record["label"]]["mpjpe_mm"])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_it_is_the_mesh_of_the_frame_before_moved_with_the_box():
    model = ToyHand()
    data = open_dataset("synthhand-clips", None, SetOptions(model.config))
    setting = replace(BASELINE, schedule=Schedule.parse("20x2"), mask="previous")
    masks, frames = ClipMasks(data, setting), load_batch(data, range(len(data)), torch.device("cpu"))
    with torch.inference_mode():
        output = {**frames, **model(frames)}
    outputs = {name: output[name].numpy() for name in data.kept}
    placed = data.place(outputs)
    for index in range(len(data)):
        one = {name: values[index : index + 1] for name, values in frames.items()}
        found = masks.add(index, one)[key_of("previous")][0].numpy()
        masks.remember(index, {name: values[index : index + 1] for name, values in outputs.items()})
        if index % FRAMES == 0:
            assert not found.any()
            continue
        points = data.shown_px(placed, index - 1)
        old, new = (np.reshape(data.boxes_xyxy[at], (2, 2)) for at in (index - 1, index))
        grown = np.ptp(new, axis=0).max() / np.ptp(old, axis=0).max()
        scene = data.scene(index, {name: values[0] for name, values in one.items()}, with_detector=False)
        moved = Outline((points - old.mean(0)) * grown + new.mean(0), scene.true_outline.faces)
        np.testing.assert_array_equal(found, MASKS["truth"].draw(replace(scene, true_outline=moved)))


def test_where_there_is_no_frame_before_it_is_refused(run, caplog, monkeypatch):
    assert run("--r", "20x2", "--mask", "previous", "--stability", "2")[0] == 1
    assert "no frame before, so 20x2-mask-previous has no mask there" in caplog.text
    monkeypatch.setattr("shared_tmu.datasets.synthhand.OFFICIAL_COUNT", 2)
    status, records, _ = run("--r", "20x2", "--mask", "previous", dataset="synthhand,synthhand-clips")
    assert status == 1
    assert [record["mask"] for record in records] == ["previous"]
    assert "Not evaluated: 20x2-mask-previous on synthhand: synthhand has single pictures" in caplog.text
