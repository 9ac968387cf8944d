"""Detectors: boxes files, views of one hand, tiles, what is missing, MediaPipe on empty pictures."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from views import HAND, IMAGE

from shared_tmu.detect import HandBox
from shared_tmu.detect.base import check_box, valid_boxes
from shared_tmu.detect.boxes import BoxesDetector
from shared_tmu.detect.close_looks import CloseLooks
from shared_tmu.detect.landmarks import HandView, Palm, box_of, grown, looks_like_a_hand, overlap
from shared_tmu.detect.mediapipe_hands import MediaPipeDetector, _group
from shared_tmu.detect.tiles import cut, tile_windows
from shared_tmu.errors import InputError


@pytest.mark.parametrize(
    ("box", "reason"),
    [([10, 10, 5, 20], "upside down"), ([10, 30, 20, 20], "upside down"), ([10, 10, 10, 20], "empty"),
     ([300, 10, 320, 20], "outside the image of 200 x 100"), ([-30, 10, -2, 20], "outside"),
     ([0, 0, float("nan"), 5], "finite"), ([0, 0, 5], "four")],
)  # fmt: skip
def test_unusable_boxes_say_why(box, reason):
    with pytest.raises(InputError, match=reason):
        check_box(box, 200, 100)


def test_boxes_may_reach_over_the_border():
    assert check_box([-5, -5, 10, 10], 200, 100) == (-5, -5, 10, 10)
    detection = valid_boxes([HandBox((0, 0, 5, 5), True), HandBox((5, 5, 0, 0), True)], IMAGE)
    assert (len(detection.boxes), len(detection.problems)) == (1, 1)


def test_a_boxes_file_gives_its_boxes_and_a_sentence_for_each_bad_one(tmp_path):
    entries = [
        {"box_xyxy": [1, 2, 30, 40], "is_right": True},
        {"box_xyxy": [30, 40, 1, 2], "is_right": True},
        {"box_xyxy": [1, 2, 30, 40]},
        {"box_xyxy": [1, 2, 30, "x"], "is_right": False},
        {"box_xyxy": [1, 2, 30, 40], "is_right": "yes"},
        {"box_xyxy": [1, 2, 30, 40], "is_right": False, "score": 2},
        "nonsense",
        {"box_xyxy": [1, 2, 30.5, 40], "is_right": 0, "score": 0.25},
    ]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"a.jpg": entries}))
    detector = BoxesDetector.from_file(path)
    found = detector.detect(IMAGE, "a.jpg")
    assert found.boxes == (HandBox((1, 2, 30, 40), True, 1.0), HandBox((1, 2, 30.5, 40), False, 0.25))
    assert len(found.problems) == 6
    assert all(f"box {i} " in text for i, text in zip((1, 2, 3, 4, 5, 6), found.problems, strict=True))
    assert detector.detect(IMAGE, "other.jpg").boxes == ()
    path.write_text(json.dumps({"a.jpg": entries}), encoding="utf-8-sig")  # with a byte-order mark
    assert BoxesDetector.from_file(path).detect(IMAGE, "a.jpg").boxes == found.boxes


def test_frames_of_a_clip_have_their_own_boxes_or_those_of_the_clip():
    box = {"box_xyxy": [1, 2, 30, 40], "is_right": True}
    detector = BoxesDetector({"clip.mp4": [box], "clip.mp4:1": [], "a": [box, box]})
    counts = [len(detector.detect(IMAGE, name).boxes) for name in ("clip.mp4:0", "clip.mp4:1", "b.mp4:0")]
    assert counts == [1, 0, 0]
    assert detector.detect(IMAGE, "a:b.jpg").boxes == ()  # a picture's name, no frame


@pytest.mark.parametrize("text", ["not json", "[]", '{"a.jpg": 3}', "\udcff"])
def test_what_is_no_boxes_file_says_what_one_looks_like(tmp_path, text):
    path = tmp_path / "boxes.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match="box_xyxy"):
        BoxesDetector.from_file(path)
    with pytest.raises(InputError, match="cannot read"):
        BoxesDetector.from_file(tmp_path / "missing.json")


@given(st.integers(2, 3000), st.integers(2, 3000), st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_tiles_cover_the_image_inside_it_and_mirror(width, height, levels):
    windows = tile_windows(width, height, levels)
    for x0, y0, x1, y1 in windows:
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
    shorter = min(width, height)
    if shorter > 40 and max(width, height) <= 2 * shorter:
        assert len(windows) == sum(level**2 for level in levels)
    if shorter > 128 * max(levels):
        for x0, y0, x1, y1 in windows:
            assert max(x1 - x0, y1 - y0) <= 2 * min(x1 - x0, y1 - y0) + 6
        covered = np.zeros((height, width), np.uint8)
        for x0, y0, x1, y1 in windows:
            covered[y0:y1, x0:x1] += 1
        assert covered.min() >= len(set(levels))
    if shorter > 40 and (1 in levels or shorter > 128 * max(levels)):
        assert min(w[0] for w in windows) == 0
        assert max(w[2] for w in windows) == width
        mirrored = {(width - w[2], w[1], width - w[0], w[3]) for w in windows}
        assert all(
            min(abs(a[0] - b[0]) + abs(a[2] - b[2]) for b in mirrored if a[1] == b[1]) <= 2 for a in windows
        )


@pytest.mark.parametrize("window", [(20, 10, 120, 60), (-40, -40, 240, 140), (150, 50, 260, 160)])
@pytest.mark.parametrize("shown_px", [512, 37])
def test_a_point_in_a_tile_is_found_in_the_image(window, shown_px):
    image = np.zeros((100, 200, 3), np.uint8)
    image[52:60, 160:168] = 255
    tile = cut(image, window, shown_px)
    light = tile.pixels[:, :, 0].astype(float)
    if window[2] <= 160:
        assert light.max() == 0
        return
    rows, columns = np.indices(light.shape)
    centre = np.array([[(light * columns).sum(), (light * rows).sum()]]) / light.sum()
    assert np.allclose(
        tile.to_image(centre), [[163.5, 55.5]], atol=0.02 if max(tile.scale) == 1 else 0.2 * max(tile.scale)
    )
    assert np.allclose(tile.of_image(tile.to_image(centre)), centre)


def palm_of(points, score=0.9):
    """The palm of a hand with these joints."""
    palm = points[[0, 5, 9, 13, 17, 1, 2]]
    return Palm(palm, box_of(palm), score)


def test_sightings_of_one_palm_are_grouped_the_best_first():
    far = palm_of(HAND + np.array([200, 0]), 0.8)
    groups = _group([palm_of(HAND, 0.5), far, palm_of(HAND + 3, 0.7)])
    assert [[palm.score for palm in group] for group in groups] == [[0.8], [0.7, 0.5]]
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == (pytest.approx(1 / 3), 0.5)
    assert overlap((0, 0, 1, 1), (2, 0, 3, 1)) == (0, 0)
    assert grown((0, 0, 10, 20), 0.1) == (-1, -2, 11, 22)


@given(st.floats(-3.1, 3.1), st.floats(0.3, 5.0), st.floats(-500, 500))
def test_the_square_around_a_hand_moves_turns_and_grows_with_it(turn, scale, shift):
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = scale * HAND @ rotation.T + [shift, 2 * shift]
    for before, after in (
        (palm_of(HAND).square().angle, palm_of(moved).square().angle),
        (HandView(HAND, 1.0).square().angle, HandView(moved, 1.0).square().angle),
    ):
        assert abs((after - before - turn + np.pi) % (2 * np.pi) - np.pi) < 1e-6
    square, other = HandView(HAND, 1.0).square(), HandView(moved, 1.0).square()
    assert other.side_px == pytest.approx(scale * square.side_px)
    expected = scale * rotation @ square.centre_px + [shift, 2 * shift]
    assert np.allclose(other.centre_px, expected, atol=1e-6)
    changed = square.changed(2.0, 0.5)
    assert (changed.side_px, changed.angle) == (2 * square.side_px, square.angle + 0.5)


def test_shapes_that_are_no_hands():
    assert looks_like_a_hand(HAND)
    assert not looks_like_a_hand(np.zeros((21, 2)))
    stretched = HAND.copy()
    stretched[8] = [500, 500]
    assert not looks_like_a_hand(stretched)


class FakePalms:
    """Sees the palm of a hand at a fixed place of the picture whenever a tile shows all of it."""

    def __init__(self, points):
        self.points = points

    def run(self, tile):
        height, width = tile.pixels.shape[:2]
        shown = (self.points - tile.origin_px) / tile.scale
        inside = shown.min() >= 0 and shown[:, 0].max() < width and shown[:, 1].max() < height
        return [palm_of(self.points)] if inside else []


class FakeLandmarks:
    """Sees the hand in every view, as sure as `presence` says, told the number of the look and the square."""

    def __init__(self, points, presence):
        self.points, self.presence, self.squares = points, presence, []

    def run(self, tile, square, is_mirrored=False):
        self.squares.append(square)
        return HandView(self.points, 0.9, self.presence(len(self.squares), square))


def detector_with(points, presence=lambda look, square: 0.95, palms=2):
    detector = MediaPipeDetector.__new__(MediaPipeDetector)
    detector._palm_models = [FakePalms(points) for _ in range(palms)]
    detector._looks = CloseLooks([FakeLandmarks(points, presence)])
    return detector


def bright_left():
    image = np.zeros((400, 600, 3), np.uint8)
    image[:, :200] = 200  # left half brighter: looked at as it is
    return image


def test_a_hand_seen_again_is_reported_and_its_mirror_image_mirrored():
    image, points = bright_left(), HAND + np.array([300, 200])
    (hand,) = detector_with(points).detect(image, "x").boxes
    assert hand.is_right
    assert hand.box_xyxy == (281, 137, 322, 200)
    assert hand.score == pytest.approx(0.95 * 0.9)
    mirrored = np.ascontiguousarray(image[:, ::-1])  # looked at mirrored: the models see the same picture
    (other,) = detector_with(points).detect(mirrored, "x").boxes
    assert other == HandBox((599 - 322, 137, 599 - 281, 200), False, hand.score)
    for threads in (1, 3, 4):
        assert detector_with(points, palms=threads).detect(image, "x").boxes == (hand,)


def test_what_is_no_hand_costs_one_look_and_chance_sightings_are_not_reported():
    image, points = bright_left(), HAND + np.array([300, 200])
    nothing = detector_with(points, lambda look, square: 0.1)
    assert nothing.detect(image, "x").boxes == ()
    assert len(nothing._looks._free.get().squares) == 1
    assert detector_with(points, lambda look, square: 0.9 if look < 3 else 0.0).detect(image, "x").boxes == ()


def test_a_palm_that_few_tiles_saw_must_be_a_hand_upside_down_too(monkeypatch):
    monkeypatch.setattr("shared_tmu.detect.mediapipe_hands._windows", lambda w, h: [(0, 0, w, h)])
    image, points = bright_left(), HAND + np.array([300, 200])
    upright = HandView(points, 1.0).square().angle
    knee = detector_with(points, lambda look, square: 0.8 if abs(square.angle - upright) < 1 else 0.05)
    assert knee.detect(image, "x").boxes == ()
    assert len(detector_with(points, lambda look, square: 0.8).detect(image, "x").boxes) == 1


class NearestHand:
    """Sees whichever of several hands is nearest; some poorly, some only the right way up."""

    def __init__(self, hands):
        self.hands = hands

    def run(self, tile, square, is_mirrored=False):
        gaps = [np.linalg.norm(hand.mean(axis=0) - square.centre_px) for hand in self.hands]
        index = int(np.argmin(gaps))
        presence = (0.95, 0.7, 0.1, 0.8 if abs(square.angle) < 1 else 0.05)[index % 4]
        shaken = self.hands[index] + 0.01 * square.angle
        return HandView(shaken, (-1) ** index * 0.9, presence)


def test_threads_change_nothing_about_what_close_looks_find():
    image = bright_left()
    hands = [HAND + np.array([60 + 90 * column, 90 + 100 * row]) for row in range(3) for column in range(6)]
    sightings = [
        [palm_of(hand), palm_of(hand + 1)] if index % 3 else [palm_of(hand)]
        for index, hand in enumerate(hands)
    ]
    sightings += [[palm_of(hand + 2)] for hand in hands]  # again, in a group of their own
    alone = CloseLooks([NearestHand(hands)]).candidates(image, sightings)
    together = CloseLooks([NearestHand(hands) for _ in range(4)]).candidates(image, sightings)
    assert len(alone) == len(together) == 17
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.points_px, other.points_px)
        assert (one.palms, one.quality, one.turned) == (other.palms, other.quality, other.turned)
    assert min(found.turned for found in alone) < 0.1
    unsure = alone[14:]  # after one of each hand that is one, those seen again because they were not sure
    assert [found.palms for found in unsure] == [2, 2, 2]
