"""From the palm model's outputs to palms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_tmu.detect.palm_boxes import RawPalms, anchors, decode, joined

COUNT = 2016


def raw(at, size_px=50.0, shift_px=0.0):
    """Outputs of the model that show palms at some anchors."""
    boxes, scores = np.zeros((COUNT, 18), np.float32), np.full(COUNT, -50, np.float32)
    for index in at:
        boxes[index, :2], boxes[index, 2:4], scores[index] = shift_px, size_px, 3.0
        boxes[index, 4:] = np.arange(14) * 2.0
    return boxes, scores


def palms(scores, boxes):
    points = np.repeat(np.array(boxes, float)[:, None, :2], 7, axis=1)
    return RawPalms(np.array(scores, float), np.array(boxes, float), points)


def test_anchors_lie_in_the_order_of_the_outputs():
    found = anchors()
    assert found.shape == (COUNT, 2)
    assert found[:4].tolist() == [[0.5 / 24, 0.5 / 24]] * 2 + [[1.5 / 24, 0.5 / 24]] * 2
    assert found[1152:1159].tolist() == [[0.5 / 12, 0.5 / 12]] * 6 + [[1.5 / 12, 0.5 / 12]]
    assert found[-1].tolist() == [11.5 / 12, 11.5 / 12]
    assert ((found > 0) & (found < 1)).all()


@pytest.mark.parametrize("index", [0, 700, 1152, 2015])
def test_a_palm_is_where_its_anchor_and_its_shift_say(index):
    found = decode(*raw([index], 48.0, 19.2), 0.5)
    centre = anchors()[index] + 0.1
    assert found.scores == pytest.approx(1 / (1 + np.exp(-3)))
    assert found.boxes[0] == pytest.approx([*(centre - 0.125), *(centre + 0.125)])
    assert found.points[0, 0] == pytest.approx(anchors()[index] + [0, 2 / 192])
    assert found.points[0, 6] == pytest.approx(anchors()[index] + [24 / 192, 26 / 192])


def test_what_is_no_palm_is_left_out_and_the_best_come_first():
    boxes, scores = raw([3, 500, 900, 1500, 1900])
    scores[[3, 500, 900]] = 1.0, 2.0, 1000.0
    boxes[1500, 2], boxes[1900, 7] = -1, np.nan
    found = decode(boxes, scores, 0.5)
    assert found.scores == pytest.approx([1.0, 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-1))])
    assert len(decode(boxes, scores, 0.8).scores) == 2
    assert joined(decode(*raw([]), 0.5)).boxes.shape == (0, 4)


def test_overlapping_palms_are_their_mean_and_others_stay():
    given = palms([0.9, 0.6, 0.5], [[0, 0, 1, 1], [0.3, 0, 1.3, 1], [2, 2, 3, 3]])
    found = joined(given)
    assert found.scores.tolist() == [0.9, 0.5]
    assert found.boxes[0] == pytest.approx([0.12, 0, 1.12, 1])
    assert found.points[0, 4] == pytest.approx([0.12, 0])
    assert found.boxes[1].tolist() == [2, 2, 3, 3]


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4, st.floats(0.1, 1)), max_size=12))
def test_joining_keeps_the_best_score_and_stays_within_what_was_found(rows):
    rows = sorted(rows, key=lambda row: -row[4])
    boxes = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d, _ in rows]
    found = joined(palms([row[4] for row in rows], np.reshape(boxes, (-1, 4))))
    assert len(found.scores) <= len(rows)
    assert found.scores[:1].tolist() == [row[4] for row in rows[:1]]
    assert list(found.scores) == sorted(found.scores, reverse=True)
    if rows:
        assert (found.boxes.min(axis=0) >= np.min(boxes, axis=0) - 1e-9).all()
        assert (found.boxes.max(axis=0) <= np.max(boxes, axis=0) + 1e-9).all()
