"""A toy model as `load` makes it, its program, and pictures with boxes of hands."""

import pytest
from toy_demo import demo_program, write_pictures

from shared_tmu.api import Hand, load_model


@pytest.fixture
def program(tmp_path):
    return demo_program(tmp_path / "model")


@pytest.fixture
def images(tmp_path):
    return write_pictures(tmp_path / "images")


@pytest.fixture
def load(program):
    """`load` of the toy model's folder."""

    def load(r="4x3", **options):
        return load_model(program, Hand, {"r": r, "device": "cpu", "batch_size": 3, **options})

    return load
