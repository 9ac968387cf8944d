"""timm, where it is installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from shared_tmu.classification.timm_import import import_timm


@pytest.fixture(scope="session")
def timm():
    """The package."""
    if find_spec("timm") is None:
        pytest.skip("timm is not installed")
    return import_timm()
