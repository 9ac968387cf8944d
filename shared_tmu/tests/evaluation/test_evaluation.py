"""The runner on a toy model and a toy set: results, resuming, failures, timing, command line."""

import json
import os
import re
import shutil
import signal

import cv2
import numpy as np
import pytest
import torch
from toy_hand_model import ToyHand

from shared_tmu.datasets import SetOptions, open_dataset
from shared_tmu.evaluation.intervals import read_intervals
from shared_tmu.evaluation.per_sample import PerSample, read_per_sample, write_per_sample
from shared_tmu.metrics import score_freihand
from shared_tmu.metrics.bootstrap import bootstrap_interval

REQUIRED = (
    "model", "dataset", "schedule", "method", "unmerge", "pa_mpvpe_mm", "pa_mpjpe_mm", "images_per_s",
    "speedup", "tokens_kept", "device", "dtype", "versions", "commit", "f5", "f15", "n", "checkpoint",
    "checkpoint_sha256", "machine",
)  # fmt: skip


def test_one_line_per_schedule_with_everything_in_it(run, capsys):
    status, records, _ = run("--r", "off,3x2,20x2+4x1")
    assert status == 0
    assert [r["schedule"] for r in records] == ["off", "3x2", "20x2+4x1"]
    assert [r["tokens_kept"] for r in records] == [64, 58, 20]
    for record in records:
        assert set(REQUIRED) <= set(record)
        assert (record["model"], record["dataset"], record["n"]) == ("Toy", "freihand", 7)
        assert record["images_per_s"] > 0
        assert record["speedup"] > 0
        assert record["timing"]["rounds"] == 2
        assert (record["n_official"], record["unmerge"]) == (3960, True)
    assert len({r["pa_mpvpe_mm"] for r in records}) == 3
    rows = {
        words[0]: words for line in capsys.readouterr().out.splitlines() if len(words := line.split()) > 4
    }
    assert rows["off"][-1] == "1"  # not the ratio of two timings of it
    assert re.fullmatch(r"\(\d\.\d\d-\d\.\d\d\)", rows["3x2"][-1])


def test_sigterm_ends_it_and_the_same_command_continues(run, monkeypatch):
    def forward(self, batch):
        os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, batch)

    plain = ToyHand.forward
    flags = ("--r", "off,3x2", "--rounds", "0")
    with monkeypatch.context() as patched:
        patched.setattr(ToyHand, "forward", forward)
        before = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # pytest's workers have a handler of their own
        try:
            with pytest.raises(SystemExit) as ended:
                run(*flags)
        finally:
            signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 128 + signal.SIGTERM
    status, records, _ = run(*flags)
    assert status == 0
    assert [r["label"] for r in records] == ["off", "3x2"]


def test_numbers_and_files_agree_with_a_plain_loop_over_the_set(run, results, data_dir):
    status, (record,), model = run("--r", "3x2", "--limit", "5")
    assert status == 0
    assert (record["n"], record["limit"]) == (5, 5)
    from toy_hand_model import patch

    data = open_dataset("freihand", data_dir, SetOptions(model.config)).head(5)

    parts = []
    with patch(model, "3x2"), torch.inference_mode():
        for i in range(5):
            sample = {name: value[None] for name, value in data.load(i).items()}
            output = {**sample, **model(sample)}
            parts.append({name: output[name].numpy() for name in data.kept})
    outputs = {name: np.concatenate([p[name] for p in parts]) for name in data.kept}
    want = data.score(data.place(outputs))
    assert record["pa_mpvpe_mm"] == pytest.approx(want.headline["pa_mpvpe_mm"], abs=1e-4)
    folder = results / record["files"]
    xyz, verts = (np.array(part) for part in json.loads((folder / "pred.json").read_text()))
    official = score_freihand(xyz, verts, data.xyz_m, data.verts_m)
    assert (folder / "scores.txt").read_text() == official.scores_txt()
    assert record["scores_txt"] == pytest.approx(official.official(), abs=1e-9)
    per_sample = read_per_sample(folder)
    assert per_sample.samples == tuple(f"{i:08d}" for i in range(5))
    assert per_sample.images == tuple(f"{i:08d}.jpg" for i in range(5))
    assert per_sample.about["dataset_sha256"] == record["dataset_sha256"]
    assert per_sample.about["predictions"] == "pred.json"
    assert per_sample.errors["pa_mpvpe_mm"].mean() == pytest.approx(record["pa_mpvpe_mm"], abs=1e-9)
    assert sorted(p.name for p in folder.iterdir()) == [
        "per_sample.parquet", "pred.json", "scores.json", "scores.txt"
    ]  # fmt: skip


def per_sample(results, record):
    return read_per_sample(results / record["files"]).errors["pa_mpvpe_mm"]


def test_lines_hold_intervals_of_errors_and_of_paired_differences(run, results):
    _, (merged, off), _ = run("--r", "20x2,off", "--rounds", "0")
    for record in (merged, off):
        low, high = record["interval_95"]["pa_mpvpe_mm"]
        assert low < record["pa_mpvpe_mm"] < high
    assert off["minus_off_interval_95"] is None
    difference = per_sample(results, merged) - per_sample(results, off)
    assert merged["minus_off_interval_95"]["pa_mpvpe_mm"] == list(bootstrap_interval(difference))
    assert set(merged["interval_95"]) == set(merged["minus_off_interval_95"])


def test_differences_need_the_unpatched_model_in_any_earlier_run(run, caplog):
    with caplog.at_level("INFO"):
        _, (alone,), _ = run("--r", "3x2", "--rounds", "0")
    assert alone["minus_off_interval_95"] is None
    assert "There is no result for 'off'" in caplog.text
    run("--r", "off", "--rounds", "0")
    _, records, _ = run("--r", "3x2", "--method", "random", "--rounds", "0")
    assert records[-1]["minus_off_interval_95"]["pa_mpvpe_mm"]


def test_photographs_are_compared_with_the_mean_hand_in_pairs(tmp_path):
    rows = {"error_box": np.array([0.25, 0.75, 0.5]), "mean_hand_error_box": np.array([0.5, 0.5, 0.5])}
    for name, images in (("run", "aab"), ("off", "aab"), ("other", "abb")):
        (tmp_path / name).mkdir()
        names = tuple(f"{image}#{i}" for i, image in enumerate(images))
        write_per_sample(tmp_path / name, PerSample(names, tuple(images), rows, {}))
    headline = {"error_box": 0.5, "mean_hand_error_box": 0.5, "another": 1.0}
    found = read_intervals(tmp_path / "run", tmp_path / "off", headline)
    assert set(found["interval_95"]) == {"error_box", "mean_hand_error_box"}
    assert found["minus_off_interval_95"] == {"error_box": [0.0, 0.0]}
    low, high = found["minus_mean_hand_interval_95"]["error_box"]
    assert -0.25 <= low < 0 < high <= 0.25
    write_per_sample(
        tmp_path / "stale", PerSample(("a#0", "a#1", "b#2"), tuple("aab"), rows, {"dataset_sha256": "x"})
    )
    for elsewhere in ("other", "nowhere", "stale"):  # other samples, no samples, other pictures
        found = read_intervals(tmp_path / "run", tmp_path / elsewhere, headline)
        assert found["minus_off_interval_95"] is None


def test_off_on_earlier_pictures_is_not_subtracted(run, data_dir, tmp_path, caplog):
    copied = tmp_path / "data"
    shutil.copytree(data_dir, copied)
    run("--r", "off", "--rounds", "0", data_dir=copied)
    for path in (copied / "freihand").rglob("*.jpg"):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    with caplog.at_level("INFO"):
        _, records, _ = run("--r", "3x2", "--rounds", "0", data_dir=copied)
    assert records[-1]["minus_off_interval_95"] is None
    assert "no result for 'off' on these samples and pictures" in caplog.text


class Numbered(ToyHand):
    """A toy whose mesh is numbered as no set's is."""

    def __init__(self):
        super().__init__()
        faces = np.random.default_rng(0).integers(0, 778, (1500, 3))
        self.mano = torch.nn.Module()
        self.mano.register_buffer("faces_tensor", torch.from_numpy(faces))


def test_vertices_that_are_numbered_otherwise_have_no_errors(run, results, caplog):
    status, (record,), _ = run("--r", "3x2", "--rounds", "0", "--columns", "all", model=Numbered())
    assert status == 0
    assert "errors that compare vertex with vertex are undefined" in caplog.text
    undefined = {"pa_mpvpe_mm", "mpvpe_mm", "f5", "f15", "pa_mpvpe_auc"}
    assert set(record["undefined"]) == undefined
    assert all(record[name] is None for name in undefined)
    assert record["pa_mpjpe_mm"] > 0
    assert "wrist_mpvpe_mm" not in record
    assert record["vertices"] == "numbered otherwise than the model's"
    scores = json.loads((results / record["files"] / "scores.json").read_text())
    assert scores["mesh_aligned"]["mean_error_mm"] is None
    assert scores["mesh"]["pck_curve"][0] is None
    status, records, _ = run("--r", "3x2", "--mask", "truth", "--rounds", "0", model=Numbered())
    assert (status, len(records)) == (1, 1)
    assert "has other triangles than the model's mesh" in caplog.text


def test_the_table_can_show_what_alignment_hides(run, capsys):
    flags = ("--r", "off,20x2", "--method", "tome,random", "--rounds", "0", "--stability", "2")
    _, records, _ = run(*flags, "--columns", "unaligned")
    table = capsys.readouterr().out
    for title in (
        "wrist MPVPE mm",
        "turned deg",
        "moved mm",
        "place %",
        "boxes %",
        "too large %",
        "size %",
        "jump mm",
    ):
        assert title in table
    assert "PA-MPVPE" not in table
    for name in ("wrist_mpvpe_mm", "orientation_error_deg", "translation_error_mm", "scale_error_pct"):
        assert len({record[name] for record in records}) == 3
        assert records[1]["minus_off_interval_95"][name]
    run(*flags, "--columns", "all")
    assert "PA-MPVPE mm" in (table := capsys.readouterr().out)
    assert "jump mm" in table
    run(*flags)
    assert "jump mm" not in capsys.readouterr().out


def test_a_method_that_does_not_suit_the_model_does_not_stop_the_others(run, caplog):
    flags = ("--r", "off,5x2", "--method", "tome,tomesd:cell=17x1,random", "--rounds", "0")
    status, records, _ = run(*flags)
    assert status == 1
    assert [record["label"] for record in records] == ["off", "5x2", "random-5x2"]
    assert "Not evaluated: tomesd:cell=17x1-5x2 on freihand: method 'tomesd:cell=17x1' needs" in caplog.text
    status, again, _ = run(*flags)
    assert (status, len(again)) == (1, 3)
