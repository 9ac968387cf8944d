"""What the tests of body models share."""

import pytest
from standins import PICKLE

from shared_tmu.body_models import ManoModel, load_mano


@pytest.fixture(scope="module")
def standin() -> ManoModel:
    return load_mano(PICKLE)
