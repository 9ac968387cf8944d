"""How well boxes are followed, counted on frames whose truth is known."""

from pathlib import Path

import numpy as np
import pytest
from bundled import BUNDLED
from measure_following import Counts, Footage, Run

from shared_tmu.demo.read_ahead import Loaded
from shared_tmu.detect import Detection, HandBox
from shared_tmu.pictures.images import Picture
from shared_tmu.pictures.listing import Source


@pytest.mark.parametrize("every", [1, 4])
def test_boxes_and_joints_are_compared_with_the_truth(every: int) -> None:
    frames, asked = 8, []
    boxes = np.array([(20 + 2 * t, 30, 80 + 2 * t, 100) for t in range(frames)], float)
    noise = np.random.default_rng(0).integers(0, 256, (frames, 120, 160, 3), dtype=np.uint8)

    def pictures():
        for t in range(frames):
            yield Loaded(Source(Path("clip"), f"clip:{t}", str(t)), picture=Picture(noise[t]))

    def find(loaded: Loaded) -> Detection:
        asked.append(int(loaded.source.key))
        x1, y1, x2, y2 = boxes[asked[-1]]
        return Detection((HandBox((x1, y1, x2, y2), True),))

    joints = np.zeros((frames, 21, 3))
    clip = Footage("clip", pictures, [t / 30 for t in range(frames)], find, boxes, joints)
    counts = Counts()
    Run(BUNDLED["hamer"], "8x16").follow(clip, every, 0, counts)
    assert (counts.frames, counts.tracks) == (frames, 1)
    assert counts.searched == len(set(asked)) <= (frames if every == 1 else frames - 1)
    assert len(counts.shared) == len(counts.errors_mm) == frames
    if every == 1:
        assert counts.shared == pytest.approx([1.0] * frames)
    assert min(counts.shared) > 0.2
    line = counts.line()
    assert line["iou_lowest"] == min(counts.shared)
    assert line["mpjpe_mm"] > 1  # the true hand has no extent
    assert line["joints_m_s2"] > 0
