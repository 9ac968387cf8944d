"""measure_clips.py: what decoder and filters change, in pairs over clips, and its table."""

import json

import measure_clips
import numpy as np
import pytest
import update_tables
from bundled import BUNDLED

from shared_tmu.errors import MissingAssetError
from shared_tmu.evaluation.per_sample import PerSample, write_per_sample
from shared_tmu.programs.identity import file_sha256

HAMER = BUNDLED["hamer"]
WEIGHTS = file_sha256(HAMER.checkpoint)

SAMPLES = tuple(f"clip{clip:02d}-{frame:08d}" for clip in range(4) for frame in range(5))


def record(folder, label, errors, **more):
    """A run whose errors are these in each clip; the ends of clips have no acceleration."""
    rows = np.repeat(np.asarray(errors, float), 5)
    ends = np.where(np.tile([True, False, False, False, True], 4), np.nan, rows)
    (folder / label).mkdir(parents=True)
    columns = {"mpjpe_mm": rows, "pa_mpjpe_mm": rows, "accel_error_mm": ends, "jitter_mm": ends}
    write_per_sample(folder / label, PerSample(SAMPLES, SAMPLES, columns, {}))
    means = {name: float(np.nanmean(values)) for name, values in columns.items()}
    given = {
        "model": "HaMeR", "dataset": "synthhand-clips", "label": label, "schedule": "8x16", "method": "tome",
        "mask": "none", "hold": False, "smooth": "none", "decoder": None, "unmerge": True, "restore": "copy",
        "protect": "first", "clips": 4, "n": 20, "true_jitter_mm": 1.0, "machine": {"processor": "a CPU"},
        "commit": "0", "checkpoint": "hamer_thin.safetensors", "checkpoint_sha256": WEIGHTS,
        "files": label, "limit": None, "n_official": 20, "dataset_sha256": "d",
    }  # fmt: skip
    return {**given, **means, **more}


@pytest.fixture
def results(tmp_path):
    made = [
        record(tmp_path, "8x16", [4, 5, 6, 7]),
        record(tmp_path, "8x16-diffusion", [3, 4, 5, 6], decoder="x.safetensors"),
        record(tmp_path, "8x16-held", [9, 9, 9, 9], hold=True),
        record(tmp_path, "8x16-held-one-euro", [8, 9, 9, 9], hold=True, smooth="one-euro"),
        record(tmp_path, "off-diffusion", [1, 1, 1, 1], schedule="off", decoder="x.safetensors"),
    ]
    lines = "".join(json.dumps(one) + "\n" for one in made)
    (tmp_path / "hamer-synthhand-clips.jsonl").write_text(lines)
    return tmp_path


def test_differences_are_those_from_the_same_run_frame_by_frame(results):
    lines = {line["label"]: line for line in measure_clips.lines_of(results, HAMER)}
    assert "mpjpe_mm_minus_frames" not in lines["8x16"]
    assert lines["8x16-diffusion"]["mpjpe_mm_minus_frames"] == pytest.approx([-1, -1, -1])
    mean, low, high = lines["8x16-held-one-euro"]["accel_error_mm_minus_frames"]
    assert mean == pytest.approx(-0.25)
    assert low < mean < high
    assert "mpjpe_mm_minus_frames" not in lines["off-diffusion"]  # there is no plain `off`
    assert lines["8x16-diffusion"]["decoder"] == "diffusion"


def test_the_table_shows_them(results, tmp_path):
    lines = measure_clips.lines_of(results, HAMER)
    path = tmp_path / "clips.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = update_tables.make_table(update_tables.read_results(path))
    row = "| 8x16 | none | free | diffusion | none | 4.50 | -1.00 (-1.00 to -1.00) | 4.50 | 4.50 | 4.50 |"
    assert row in table
    assert "clips: 4; n: 20" in table or "clips: 4; samples: 20" in table


def test_nothing_measured_is_said(tmp_path):
    with pytest.raises(MissingAssetError, match="--dataset synthhand-clips first"):
        measure_clips.lines_of(tmp_path, HAMER)


def test_lines_of_other_weights_clips_or_a_part_of_them_are_left_out_and_counted(results, capsys):
    before = measure_clips.lines_of(results, HAMER)
    path = results / "hamer-synthhand-clips.jsonl"
    text = path.read_text()
    one = json.loads(text.splitlines()[0])
    other = {"checkpoint_sha256": "another", "label": "8x16"}
    fewer = {"limit": 5, "n": 5, "label": "8x16-savgol", "smooth": "savgol"}
    lines = [json.dumps(one | more) + "\n" for more in ({"dataset_sha256": "old"}, other, other, fewer)]
    path.write_text(lines[0] + text + "".join(lines[1:]))
    assert measure_clips.lines_of(results, HAMER) == before
    told = "lines left out: 2 of other weights, 1 on a part of the clips, 1 on other clips."
    assert told in capsys.readouterr().err
    path.write_text("".join(lines[1:]))
    with pytest.raises(MissingAssetError, match=r"on all clips .lines left out: 2 of other weights, 1 on a"):
        measure_clips.lines_of(results, HAMER)
    path.write_text(json.dumps(one | {"limit": 99}) + "\n")  # more than there are
    assert len(measure_clips.lines_of(results, HAMER)) == 1


def test_masks_beside_each_other_with_their_change_over_off(tmp_path):
    asked = {"mask_weight": 0.25, "mask_tokens": 40.0, "mask_missing": 2, "tokens_kept": 64}
    asked |= {"mask_share": 0.002, "mask_share_quartiles": [0.001, 0.003]}
    none = dict.fromkeys(asked) | {"tokens_kept": 64}
    made = [
        record(tmp_path, "8x16-mask-previous", [5, 6, 7, 8], mask="previous", **asked),
        record(tmp_path, "8x16-mask-box-diffusion", [9, 9, 9, 9], mask="box", decoder="x", **asked),
        record(tmp_path, "off", [4, 5, 6, 7], schedule="off", **none),
    ]
    path = tmp_path / "hamer-synthhand-clips.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in made))
    lines = measure_clips.mask_lines(tmp_path, HAMER)
    assert [line["label"] for line in lines] == ["off", "8x16-mask-previous"]
    path = tmp_path / "masks.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = update_tables.make_table(update_tables.read_results(path))
    row = "| 8x16 | previous | 64 | 40 | 2 | 6.50 | +1.00 (+1.00 to +1.00) | 6.50 | +1.00 (+1.00 to +1.00) |"
    assert f"{row} 6.50 | 6.50 | 0.2 (0.1 to 0.3) |" in table
    path = tmp_path / "hamer-synthhand-clips.jsonl"
    path.write_text(json.dumps(made[0]) + "\n")
    with pytest.raises(MissingAssetError, match="no result of --r off"):
        measure_clips.mask_lines(tmp_path, HAMER)
