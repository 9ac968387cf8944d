"""Fixtures that several tests of programs use."""

import asset_table
import pytest
from toy_asset import DIGEST

import assets


@pytest.fixture
def asset(monkeypatch: pytest.MonkeyPatch) -> str:
    """Put an asset of two parts, one with a known checksum, into the table."""
    parts = (
        asset_table.AssetPart("model.pkl", "toy/checkpoints", r"model\.pkl", DIGEST),
        asset_table.AssetPart("config.yaml", "toy", r"config\.yaml"),
    )
    toy = asset_table.Asset("a toy", "free for tests", "nowhere", parts, "nothing")
    monkeypatch.setitem(assets.ASSETS, "toy", toy)
    return "toy"
