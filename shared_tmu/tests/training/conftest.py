"""Fixtures of training tests."""

import pytest
import toy_training

from shared_tmu.synth import shards
from shared_tmu.training import data


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of a few pictures."""
    monkeypatch.setattr(shards, "SHARD", toy_training.SHARD)
    monkeypatch.setattr(data, "SHARD", toy_training.SHARD)
