"""The FreiHAND table: the official script's golden values, slow references, and what must be refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_tmu.errors import InputError
from shared_tmu.metrics import area_under_pck, f_scores, pck_curve, point_distances, score_freihand

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"


@pytest.fixture(scope="module")
def arrays():
    return dict(np.load(GOLDEN / "freihand.npz"))


@pytest.fixture(scope="module")
def expected():
    return json.loads((GOLDEN / "freihand.json").read_text())["expected"]


@pytest.fixture(scope="module")
def scores(arrays):
    return score_freihand(**arrays)


def assert_same(got, want, path):
    if isinstance(want, dict):
        assert set(got) == set(want), path
        for key in want:
            assert_same(got[key], want[key], f"{path}/{key}")
        return
    tolerance = 1e-9 if "_mm" not in path.rsplit("/", 1)[-1] else 1e-8
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance, err_msg=path)


def test_every_golden_number(scores, expected):
    assert_same(scores.as_dict(), expected, "expected")


def test_score_file_lines(scores, expected):
    lines = dict(line.split(": ") for line in scores.scores_txt().splitlines())
    assert lines == {name: f"{value:f}" for name, value in expected["scores_txt"].items()}


def test_headline_is_the_aligned_family_in_millimetres(scores, expected):
    for name, family in (("pa_mpvpe_mm", "mesh_aligned"), ("pa_mpjpe_mm", "xyz_aligned")):
        assert scores.headline[name] == pytest.approx(expected[family]["mean_error_mm"], abs=1e-9)
    assert scores.headline["f5"] == expected["f_aligned_at_5mm"]["mean"]
    for name, values in scores.per_sample.items():
        assert values.mean() == pytest.approx(scores.headline[name], abs=1e-9), name


def test_a_perfect_prediction(arrays):
    best = score_freihand(arrays["gt_xyz"], arrays["gt_verts"], arrays["gt_xyz"], arrays["gt_verts"])
    assert best.headline["pa_mpvpe_mm"] < 1e-4
    assert best.families["mesh"].mean_error_mm == 0
    assert best.families["mesh"].auc == 1
    assert best.headline["f5"] == 1


def slow_f(prediction, truth, threshold):
    shares = []
    for one, other in ((truth, prediction), (prediction, truth)):
        near = [min(np.linalg.norm(p - q) for q in other) < threshold for p in one]
        shares.append(sum(near) / len(near))
    return 0.0 if sum(shares) == 0 else 2 * shares[0] * shares[1] / sum(shares)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), spread=st.sampled_from([0.001, 0.01, 0.1]), points=st.integers(1, 12))
def test_f_scores_equal_the_slow_reference(seed, spread, points):
    rng = np.random.default_rng(seed)
    prediction, truth = spread * rng.normal(size=(2, points, 3)), spread * rng.normal(size=(2, points + 2, 3))
    fast = f_scores(prediction, truth, (0.005, 0.015))
    for threshold, scores in fast.items():
        for i in range(2):
            slow = slow_f(prediction[i], truth[i], threshold)
            assert scores.per_sample[i] == pytest.approx(slow, abs=1e-12)


def test_f_threshold_is_strict_and_pck_threshold_is_not():
    truth, prediction = np.zeros((1, 1, 3)), np.array([[[0.005, 0.0, 0.0]]])
    assert f_scores(prediction, truth, (0.005,))[0.005].mean == 0
    assert f_scores(prediction, truth, (0.005, 0.015))[0.005].mean == 0
    assert pck_curve(point_distances(prediction, truth), np.array([0.0, 0.005])).tolist() == [0, 1]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), samples=st.integers(1, 6), points=st.integers(1, 6))
def test_pck_and_its_area_equal_the_slow_reference(seed, samples, points):
    distances = np.round(np.random.default_rng(seed).uniform(0, 60, size=(samples, points)), 0)
    thresholds = np.linspace(0, 50, 101)
    per_point = [[(distances[:, p] <= t).mean() for t in thresholds] for p in range(points)]
    curve = pck_curve(distances, thresholds)
    np.testing.assert_allclose(curve, np.mean(per_point, axis=0), atol=1e-12)
    steps = range(len(thresholds) - 1)
    slow_area = np.mean([sum((c[k] + c[k + 1]) / 2 * 0.5 for k in steps) / 50 for c in per_point])
    assert area_under_pck(curve, thresholds) == pytest.approx(slow_area, abs=1e-12)


def test_a_prediction_that_is_not_finite_is_named(arrays):
    broken = arrays["pred_verts"].copy()
    broken[3, 10, 1] = np.nan
    with pytest.raises(InputError, match=r"1 of 8 samples have predicted vertices that are not finite: 3\."):
        score_freihand(arrays["pred_xyz"], broken, arrays["gt_xyz"], arrays["gt_verts"])


def test_wrong_shapes_and_counts(arrays):
    with pytest.raises(InputError, match="cannot score vertices of shape"):
        score_freihand(**{**arrays, "pred_verts": arrays["pred_verts"][:, :700]})
    with pytest.raises(InputError, match="7 samples of joints with 8 of vertices"):
        score_freihand(arrays["pred_xyz"][:7], arrays["pred_verts"], arrays["gt_xyz"][:7], arrays["gt_verts"])
    with pytest.raises(InputError, match="N > 0"):
        score_freihand(*(a[:0] for a in arrays.values()))
