"""Two runs in pairs: differences and verdicts, what is refused by name, the worst samples, pictures."""

import json

import cv2
import numpy as np
import pytest

from shared_tmu.errors import InputError, MissingAssetError
from shared_tmu.evaluation.compare_program import main
from shared_tmu.evaluation.comparing import compare_runs, worst_samples
from shared_tmu.evaluation.per_sample import PerSample, read_per_sample, write_per_sample
from shared_tmu.metrics.bootstrap import bootstrap_interval

RNG = np.random.default_rng(0)
COUNT = 60
SAMPLES = tuple(f"{i:04d}" for i in range(COUNT))
ABOUT = {"dataset": "freihand", "dataset_sha256": "a"}


def rows(samples=SAMPLES, about=ABOUT, **errors):
    values = {name: np.asarray(found, np.float64) for name, found in errors.items()}
    return PerSample(samples, samples, values, about)


def by_name(a, b):
    return {difference.name: difference for difference in compare_runs(a, b)}


def test_verdicts_follow_the_interval_of_the_paired_difference():
    spread = RNG.normal(10, 5, COUNT)  # far larger than the differences, and common to both runs
    noise = RNG.normal(0, 0.1, COUNT)
    a = rows(pa_mpvpe_mm=spread, f5=spread, mpjpe_mm=spread, scale_bias_pct=spread, only_a=spread)
    b = rows(
        pa_mpvpe_mm=spread + 0.2 + noise,
        f5=spread + 0.2 + noise,
        mpjpe_mm=spread + noise - noise.mean(),
        scale_bias_pct=spread + 0.2,
        only_b=spread,
    )
    found = by_name(a, b)
    assert {name: d.verdict for name, d in found.items()} == {
        "pa_mpvpe_mm": "worse", "f5": "better", "mpjpe_mm": "within noise", "scale_bias_pct": "differs"
    }  # fmt: skip
    d = found["pa_mpvpe_mm"]
    assert d.low < d.minus < d.high
    assert d.minus == pytest.approx(0.2 + noise.mean())
    assert (d.b - d.a, d.n) == (pytest.approx(d.minus), COUNT)


def test_samples_without_a_value_do_not_count_and_order_does_not_matter():
    values = RNG.normal(size=COUNT)
    holes = np.where(np.arange(COUNT) < 50, values, np.nan)
    found = by_name(rows(x_mm=values), rows(SAMPLES[::-1], x_mm=holes[::-1]))
    assert (found["x_mm"].n, found["x_mm"].minus, found["x_mm"].verdict) == (50, 0, "equal")
    with pytest.raises(InputError, match="no error in common"):
        compare_runs(rows(x_mm=values), rows(x_mm=np.full(COUNT, np.nan)))


def test_worst_samples_are_those_that_lose_most():
    lost = np.zeros(COUNT)
    lost[[7, 3]] = 5, 9
    lost[4] = np.nan
    zero = np.zeros(COUNT)
    assert worst_samples(rows(x_mm=zero), rows(x_mm=lost), "x_mm", 2) == [3, 7]
    assert worst_samples(rows(f5=zero), rows(f5=-lost), "f5", 1) == [3]
    assert len(worst_samples(rows(x_mm=zero), rows(x_mm=lost), "x_mm", 1000)) == COUNT - 1


def zeros(samples=SAMPLES, **about):
    return rows(samples, {**ABOUT, **about}, x_mm=np.zeros(len(samples)))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (zeros(dataset="ho3d-v2"), "different sets, freihand and ho3d-v2"),
        (zeros(SAMPLES[:-2]), "the second run lacks 2 of 60 samples of the other: 0058, 0059"),
        (zeros((*SAMPLES, "more")), "the first run lacks 1 of 61 samples of the other: more"),
        (zeros(dataset_sha256="b"), "different annotations or pictures"),
    ],
)
def test_runs_of_other_samples_are_refused_by_name(other, message):
    with pytest.raises(InputError, match=message):
        compare_runs(zeros(), other)


def test_files_survive_a_round_trip_and_other_files_are_refused(tmp_path):
    before = rows(x_mm=np.array([*range(COUNT - 1), np.nan]))
    write_per_sample(tmp_path, before)
    after = read_per_sample(tmp_path)
    assert (after.samples, after.images, after.about) == (before.samples, before.images, before.about)
    np.testing.assert_array_equal(after.errors["x_mm"], before.errors["x_mm"])
    (tmp_path / "other.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"other\.parquet cannot be read as errors of samples"):
        read_per_sample(tmp_path / "other.parquet")
    with pytest.raises(MissingAssetError, match=r"eval\.py writes one for each run"):
        read_per_sample(tmp_path / "nowhere.parquet")


def test_the_program_on_two_runs(run, results, data_dir, tmp_path, capsys, caplog):
    _, (off, merged), _ = run("--r", "off,20x2", "--rounds", "0")
    a, b = (results / record["files"] for record in (off, merged))
    flags = ["--out", str(tmp_path / "out"), "--worst", "3"]  # the runs know where their set is
    assert main([str(a), str(b / "per_sample.parquet"), *flags]) == 0
    out = capsys.readouterr().out
    table = json.loads((tmp_path / "out" / "comparison.json").read_text())
    differences = {d["name"]: d for d in table["differences"]}
    assert differences["pa_mpvpe_mm"]["minus"] == pytest.approx(merged["pa_mpvpe_mm"] - off["pa_mpvpe_mm"])
    interval = merged["minus_off_interval_95"]["pa_mpvpe_mm"]
    assert [differences["pa_mpvpe_mm"][side] for side in ("low", "high")] == interval
    assert (table["metric"], len(table["worst"])) == ("pa_mpvpe_mm", 3)
    assert "pa_mpvpe_mm" in out
    sheet = cv2.imread(str(tmp_path / "out" / "worst.png"))
    assert sheet.shape[1] == 2 * 280
    assert sheet.shape[0] == 3 * (280 + 26)
    assert main([str(a), str(a), *flags]) == 0
    assert "A and B are equal in pa_mpvpe_mm on " in capsys.readouterr().out
    assert main([str(a), str(b), *flags, "--metric", "magic"]) == 1
    assert "--metric magic is not an error of both runs" in caplog.text
    assert main([str(a), str(b), *flags, "--data_dir", str(tmp_path)]) == 1  # the numbers are there
    assert "No pictures: dataset 'freihand' was asked for" in caplog.text


def test_an_error_with_a_sign_is_worse_the_farther_it_is_from_0():
    zero, signed = np.zeros(COUNT), np.zeros(COUNT)
    signed[[5, 9]] = -50, 1
    assert worst_samples(rows(scale_bias_pct=zero), rows(scale_bias_pct=signed), "scale_bias_pct", 2) == [
        5,
        9,
    ]


def test_intervals_are_over_groups_and_survive_the_file(tmp_path):
    clips = np.repeat(np.arange(6), 10)
    lost = np.repeat(RNG.normal(size=6), 10)
    a = PerSample(SAMPLES, SAMPLES, {"x_mm": np.zeros(COUNT)}, ABOUT, tuple(map(int, clips)))
    b = PerSample(SAMPLES, SAMPLES, {"x_mm": lost}, ABOUT, a.groups)
    write_per_sample(tmp_path, a)
    assert read_per_sample(tmp_path).groups == a.groups
    wide = by_name(read_per_sample(tmp_path), b)["x_mm"]
    narrow = by_name(rows(x_mm=np.zeros(COUNT)), rows(x_mm=lost))["x_mm"]
    assert (wide.low, wide.high) == pytest.approx(bootstrap_interval(lost[::10]))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert (wide.n, wide.groups, narrow.groups) == (COUNT, 6, COUNT)


def test_one_group_tells_nothing_about_others(tmp_path, capsys):
    """Three hands of one picture: no interval, and no verdict that needs one."""
    names = SAMPLES[:3]
    runs = {"a": np.zeros(3), "b": np.array([1.0, 2.0, 3.0])}
    for name, errors in runs.items():
        write_per_sample(tmp_path / name, PerSample(names, names, {"x_mm": errors}, ABOUT, (0, 0, 0)))
    assert read_per_sample(tmp_path / "a").interval(runs["b"]) == []
    flags = ["--worst", "0", "--out", str(tmp_path / "out")]
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), *flags]) == 0
    told = "B - A is +2.0000 in x_mm on 3 samples, all of one group: whether others differ as much is"
    assert told in capsys.readouterr().out
    (found,) = json.loads((tmp_path / "out" / "comparison.json").read_text())["differences"]
    assert (found["low"], found["high"], found["verdict"]) == (None, None, "unknown")


def test_the_sentence_counts_groups_and_controls_are_equal(tmp_path, capsys, monkeypatch):
    groups = tuple(int(i) for i in np.repeat(np.arange(6), 10))
    control = {"mean_hand_error_box": RNG.normal(size=COUNT)}
    for name, errors in (("a", np.zeros(COUNT)), ("b", RNG.normal(5, 1, COUNT))):
        run = PerSample(SAMPLES, SAMPLES, {"x_mm": errors, **control}, ABOUT, groups)
        write_per_sample(tmp_path / name, run)
    monkeypatch.chdir(tmp_path)
    assert main(["a", "b", "--worst", "0"]) == 0
    out = capsys.readouterr().out
    assert "which is more than noise: on 60 samples in 6 groups the interval of B - A is +" in out
    assert next(line for line in out.splitlines() if line.startswith("mean_hand")).endswith(" equal")
    assert (tmp_path / "results" / "comparison" / "comparison.json").is_file()


def test_it_is_said_that_a_set_was_read_otherwise(tmp_path, capsys):
    for tips in ("model", "freihand"):
        write_per_sample(tmp_path / tips, zeros(read={"tips": tips, "boxes": "own"}))
    flags = ["--worst", "0", "--out", str(tmp_path / "out")]
    assert main([str(tmp_path / "model"), str(tmp_path / "freihand"), *flags]) == 0
    told = capsys.readouterr().out
    assert "The set was read with another tips: model for A, freihand for B." in told
    assert "boxes" not in told
