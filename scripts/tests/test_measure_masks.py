"""measure_masks.py and measure_stability.py on a folder whose eval.py only writes lines."""

import json
from pathlib import Path

import bundled
import evaluate_bundled
import measure_masks
import measure_stability
import pytest
import update_tables
from bundled import BUNDLED, Bundled

from shared_tmu.errors import InputError

# Writes what eval.py would, masks included; an older line of the same settings comes first.
EVAL = """
import argparse, hashlib, itertools, json, pathlib
parser = argparse.ArgumentParser()
for flag in ("r", "rounds", "device", "stability", "limit", "mask", "dataset", "data_dir", "method"):
    parser.add_argument(f"--{flag}")
parser.add_argument("--background", default="0.25")
given = parser.parse_args()
weights = hashlib.sha256(pathlib.Path("weights/toy.safetensors").read_bytes()).hexdigest()
pathlib.Path("results").mkdir(exist_ok=True)
name = given.dataset or "synthhand"
with pathlib.Path(f"results/toy-{name}.jsonl").open("a") as file:
    for age in ("old", "new"):
        asked = itertools.product((given.method or "tome").split(","), given.mask.split(","))
        for number, (method, mask) in enumerate(asked):
            for schedule in given.r.split(","):
                if schedule == "off" and number:
                    continue
                line = {"model": "Toy", "dataset": name, "device": "cpu", "dtype": "float32"}
                line |= {"schedule": schedule, "mask": mask, "method": method, "unmerge": True}
                line |= {"protect": "first", "checkpoint_sha256": weights, "finished": age, "tokens_kept": 9}
                limit = int(given.limit) if given.limit else None
                line |= {"limit": limit, "n": limit or 13, "dataset_sha256": f"first {limit}"}
                line |= {"stability_n": min(limit or 13, int(given.stability)), "stability_mm": 1.0}
                line |= {"stability_interval_95": [0.5, 1.5], "noise_mm": 0.25, "held_mm": 0.5}
                masked = mask != "none"
                line |= {"mask_tokens": 4.0 if masked else None, "mask_missing": 0 if masked else None}
                weight = None if given.background == "first" or not masked else float(given.background)
                line |= {"mask_weight": weight, "mask_share": 0.002 if masked else None}
                line |= {"mask_share_quartiles": [0.001, 0.003]}
                line |= {"error_box" if given.dataset else "pa_mpvpe_mm": 1.0 if age == "new" else 2.0}
                file.write(json.dumps(line) + "\\n")
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundled:
    monkeypatch.setattr(bundled, "REPOSITORY", tmp_path)
    folder = tmp_path / "Toy_TMU"
    (folder / "weights").mkdir(parents=True)
    (tmp_path / "assets").mkdir()
    (folder / "eval.py").write_text(EVAL)
    (folder / "weights" / "toy.safetensors").write_bytes(b"weights")
    model = Bundled("Toy", folder, "toy", "toy.safetensors", "synthhand")
    monkeypatch.setitem(BUNDLED, "toy", model)
    return model


def test_every_mask_beside_plain_merging_newest_lines_only(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(update_tables, "main", lambda arguments: 0)
    photos = tmp_path / "photos"
    photos.mkdir()
    assert measure_masks.main(["--model", "toy", "--r", "5x20,8x16", "--photos", str(photos)]) == 0
    lines = [json.loads(line) for line in toy.lines("masks").read_text().splitlines()]
    assert {line["kind"] for line in lines} == {"masks"}
    own = [
        (line["schedule"], line["mask"], line["mask_weight"])
        for line in lines
        if line["dataset"] == "synthhand"
    ]
    masks = ("landmarks", "box", "probe", "attention", "keypoints", "truth", "landmarks+probe")
    weighed = [(s, [(s, "none", None), *((s, mask, 0.25) for mask in masks)]) for s in ("5x20", "8x16")]
    first = [(s, mask, None) for s in ("8x16", "12x8+6x8") for mask in ("box", "probe", "truth")]
    assert own == [("off", "none", None), *weighed[0][1], *weighed[1][1], *first]
    assert all(line["pa_mpvpe_mm"] == 1.0 for line in lines if line["dataset"] == "synthhand")
    told = {line["mask"] for line in lines if line["dataset"] == "photos"}
    assert told == {"none", "landmarks", "box", "probe", "attention", "landmarks+probe"}
    table = update_tables.make_table(update_tables.read_results(toy.lines("masks")))
    assert "| 8x16 | landmarks | 9 | 4 | 0 | 1.00 |" in table
    assert "| 8x16 | box, background first | 9 | 4 | 0 | 1.00 |" in table
    assert "| 0.2 (0.1 to 0.3) |" in table
    assert "samples: 200; samples moved by a pixel: 24" in table


def test_lines_of_other_samples_that_were_measured_later_are_not_taken_for_those_asked_for(toy, monkeypatch):
    monkeypatch.setattr(update_tables, "main", lambda arguments: 0)
    flags = ["--model", "toy", "--r", "8x16", "--limit", "200"]
    assert measure_masks.main(flags) == 0
    first = toy.lines("masks").read_text()
    assert measure_stability.main(["--model", "toy", "--r", "8x16", "--limit", "96"]) == 0
    assert measure_masks.main(["--model", "toy", "--r", "8x16", "--limit", "200", "--stability", "7"]) == 0
    monkeypatch.setattr(evaluate_bundled, "run_all", lambda *given, **more: 0)  # eval.py knows all runs
    assert measure_masks.main(flags) == 0
    assert toy.lines("masks").read_text() == first
    with pytest.raises(InputError, match=r"no line of off .* on 300 samples with --stability 24"):
        measure_masks.main(["--model", "toy", "--limit", "300"])


def test_stability_with_and_without_masks_and_in_both_ways(toy, monkeypatch):
    monkeypatch.setattr(update_tables, "main", lambda arguments: 0)
    assert measure_stability.main(["--model", "toy", "--r", "8x16"]) == 0
    lines = [json.loads(line) for line in toy.lines("stability").read_text().splitlines()]
    own = [(line["schedule"], line["method"], line["mask"]) for line in lines]
    masks = ("none", "box", "keypoints")
    assert own == [("off", "tome", "none")] + [("8x16", m, k) for m in ("tome", "quadtree") for k in masks]
    table = update_tables.make_table(update_tables.read_results(toy.lines("stability")))
    assert "| 8x16 | quadtree | box | 9 | 1.00 | 1.0 | 0.5 to 1.5 | 0.5 | 0.25 |" in table


def test_people_have_no_key_points_in_the_detectors_order():
    assert measure_masks.masks_for("smplest-x", with_truth=True) == [
        *("none", "landmarks", "box", "probe", "attention", "segmentation", "truth", "landmarks+probe")
    ]
