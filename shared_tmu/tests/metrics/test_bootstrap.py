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
