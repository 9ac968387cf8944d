"""Alignments against golden values of the published evaluators and against their defining properties."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_tmu.errors import InputError
from shared_tmu.metrics import align_root, align_similarity, fit_similarity

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"


def random_similarity(rng, mirrored=False):
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    if (np.linalg.det(q) < 0) != mirrored:
        q[:, 0] *= -1
    return rng.uniform(0.5, 2.0) * q, rng.normal(size=3)


@pytest.mark.parametrize(
    ("key", "reflection"),
    [
        ("hand_benchmark_alignment_mm", True),
        ("hamer_alignment_mm", False),
        ("whole_body_alignment_mm", False),
    ],
)
def test_golden_procrustes(key, reflection):
    arrays = np.load(GOLDEN / "procrustes.npz")
    expected = json.loads((GOLDEN / "procrustes.json").read_text())["expected"]
    aligned = align_similarity(arrays["source"], arrays["target"], reflection=reflection)
    errors = np.linalg.norm(aligned - arrays["target"], axis=-1).mean(axis=-1) * 1000
    for name, error in zip(arrays["names"], errors, strict=True):
        assert error == pytest.approx(expected[str(name)][key], abs=1e-9), name


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), mirrored=st.booleans())
def test_a_similarity_is_undone_exactly_and_a_mirror_only_where_allowed(seed, mirrored):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(21, 3))
    matrix, shift = random_similarity(rng, mirrored)
    prediction = truth @ matrix + shift
    with_mirror = align_similarity(prediction, truth, reflection=True)
    np.testing.assert_allclose(with_mirror, truth, atol=1e-6)
    without = align_similarity(prediction, truth, reflection=False)
    assert bool(np.abs(without - truth).max() > 1e-3) == mirrored


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), reflection=st.booleans())
def test_no_other_similarity_is_closer(seed, reflection):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(12, 3))
    prediction = truth + 0.3 * rng.normal(size=truth.shape)
    fit = fit_similarity(prediction, truth, reflection=reflection)
    best = np.square(fit.apply(prediction) - truth).sum()
    for _ in range(10):
        wobble, _ = np.linalg.qr(np.eye(3) + 0.05 * rng.normal(size=(3, 3)))
        wobble *= np.sign(np.diag(wobble))  # near the identity, so still a rotation
        other = (prediction - fit.source_mean) @ fit.matrix @ wobble * rng.uniform(0.9, 1.1) + fit.target_mean
        assert np.square(other - truth).sum() >= best - 1e-9


def test_the_map_moves_points_it_was_not_fitted_on():
    rng = np.random.default_rng(3)
    truth, more = rng.normal(size=(21, 3)), rng.normal(size=(50, 3))
    matrix, shift = random_similarity(rng)
    fit = fit_similarity(truth @ matrix + shift, truth, reflection=False)
    np.testing.assert_allclose(fit.apply(more @ matrix + shift), more, atol=1e-9)


def test_batches_are_aligned_sample_by_sample():
    rng = np.random.default_rng(4)
    prediction, truth = rng.normal(size=(2, 5, 21, 3)), rng.normal(size=(2, 5, 21, 3))
    together = align_similarity(prediction, truth, reflection=True)
    for i in range(2):
        for j in range(5):
            one = align_similarity(prediction[i, j], truth[i, j], reflection=True)
            np.testing.assert_allclose(together[i, j], one, atol=1e-12)


def test_coinciding_points_go_to_the_mean_or_are_refused():
    truth = np.random.default_rng(5).normal(size=(21, 3))
    aligned = align_similarity(np.ones((21, 3)), truth, reflection=True)
    np.testing.assert_allclose(aligned, np.broadcast_to(truth.mean(0), (21, 3)), atol=1e-9)
    with pytest.raises(InputError, match="points all coincide"):
        align_similarity(np.ones((21, 3)), truth, reflection=False)


def test_root_alignment_moves_one_point_onto_its_truth_and_keeps_the_shape():
    rng = np.random.default_rng(6)
    prediction, truth = rng.normal(size=(4, 21, 3)), rng.normal(size=(4, 21, 3))
    moved = align_root(prediction, truth, row=9)
    np.testing.assert_allclose(moved[:, 9], truth[:, 9])
    np.testing.assert_allclose(np.diff(moved, axis=1), np.diff(prediction, axis=1))


@pytest.mark.parametrize(("a", "b"), [((21, 3), (20, 3)), ((21, 2), (21, 2)), ((3,), (3,)), ((0, 3), (0, 3))])
def test_shapes_that_cannot_be_aligned(a, b):
    with pytest.raises(InputError, match="cannot align points of shape"):
        align_similarity(np.zeros(a), np.zeros(b), reflection=True)
