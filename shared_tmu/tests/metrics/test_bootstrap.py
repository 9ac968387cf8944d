"""Bootstrap intervals."""

import numpy as np

from shared_tmu.metrics.bootstrap import bootstrap_interval


def test_an_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        low, high = bootstrap_interval(rng.normal(3.0, 2.0, size=60), draws=300, seed=trial)
        hits += low <= 3.0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_values_that_are_alike_count_once():
    means = np.random.default_rng(2).normal(size=12)
    values, groups = np.repeat(means, 50), np.repeat(np.arange(12), 50)
    assert np.allclose(bootstrap_interval(values, groups=groups), bootstrap_interval(means))
    low, high = bootstrap_interval(values)
    assert high - low < 0.3 * np.ptp(bootstrap_interval(values, groups=groups))
    assert bootstrap_interval(means, groups=range(12)) == bootstrap_interval(means)


def test_groups_weigh_as_much_as_they_hold():
    values, groups = np.array([0.0, 1.0, 1.0, 1.0]), [5, 7, 7, 7]
    assert bootstrap_interval(values, groups=groups) == (0.0, 1.0)
    seen = {bootstrap_interval(values, share=0.02, groups=groups, seed=seed)[0] for seed in range(8)}
    assert seen <= {0.0, 0.75, 1.0}
