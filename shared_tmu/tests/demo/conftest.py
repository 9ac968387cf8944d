"""A toy model, pictures, boxes of hands on them, and where results go."""

import pytest
from toy_demo import demo_program, write_boxes, write_pictures


@pytest.fixture
def program(tmp_path):
    return demo_program(tmp_path / "model")


@pytest.fixture
def images(tmp_path):
    return write_pictures(tmp_path / "images")


@pytest.fixture
def boxes(tmp_path):
    return write_boxes(tmp_path / "boxes.json")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"
