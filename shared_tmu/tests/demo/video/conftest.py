"""A clip, and boxes of hands on its frames."""

import pytest
from clip_runs import BOXES, write_clip
from toy_demo import write_boxes


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "in" / "clip.mp4")


@pytest.fixture
def boxes(tmp_path):
    return write_boxes(tmp_path / "boxes.json", BOXES)
