"""The mask from the frame before lies on the hand in its own frame, while hands move and grow."""

import cv2
import numpy as np
import pytest
from clip_runs import run
from seeing_hand import FRAMES, seeing_program, true_hand, write_hands
from toy_demo import write_boxes

from shared_tmu.demo.masking import PreviousFrame


@pytest.fixture
def masks(tmp_path, monkeypatch):
    """Masks of the demo on such a clip: (frame, side) to (mask, its source, crop to picture)."""
    clip = tmp_path / "clip.mp4"
    boxes = write_hands(clip)
    found, complete = {}, PreviousFrame.complete

    def watched(self, batch):
        waiting = [(job, mask, *mask.waits) for job, mask in zip(batch.jobs, batch.masks, strict=True)]
        complete(self, batch)
        for job, mask, box, scene in waiting:
            found[int(job.source.key), box.is_right] = (mask.mask, mask.source, scene.to_picture)

    monkeypatch.setattr(PreviousFrame, "complete", watched)
    program = seeing_program(tmp_path / "toy")
    given = ("--mask", "previous", "--no-overlays", "--rescale_factor", 1.5)
    assert run(program, clip, tmp_path / "out", *given, boxes=write_boxes(tmp_path / "b.json", boxes)) == 0
    return found


def shared(mask, hand, to_picture):
    """Intersection over union of a mask and a hand in the picture, in the mask's crop."""
    inverse = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(hand.astype(np.uint8), to_picture, mask.shape[::-1], flags=inverse).astype(bool)
    return (mask & seen).sum() / (mask | seen).sum()


def test_the_mask_follows_hands_that_move_and_grow(masks):
    assert len(masks) == 2 * FRAMES
    for (number, side), (mask, source, to_picture) in masks.items():
        if number == 0:
            assert (mask, source) == (None, "none")
            continue
        assert source == "previous"
        now = shared(mask, true_hand(number, side), to_picture)
        assert now > 0.7, (number, side)
        if number > 1:  # the hand that it was drawn from stood elsewhere
            assert now > shared(mask, true_hand(number - 1, side), to_picture) + 0.2, (number, side)
