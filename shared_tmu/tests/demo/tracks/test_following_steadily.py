"""Boxes between detections: neither led astray by wrong meshes, nor behind hands that move."""

import numpy as np
import pytest
from following_world import FPS, World, moving, tracks_of

from shared_tmu.demo.tracks.mesh_follower import AHEAD
from shared_tmu.detect.base import shared_part


@pytest.mark.parametrize("every", [3, 5, 10])
@pytest.mark.parametrize("ahead", [0, 12])
def test_wrong_meshes_do_not_lead_a_box_astray(every, ahead):
    """Meshes that are where the crop is and shake by a tenth: a picture that is too hard for the model."""
    world, rng = World({"a": moving(100, 4), "B": moving(500, -2, 350)}), np.random.default_rng(0)

    def outline(job, index):
        box = np.reshape(job.detection.boxes[index].box_xyxy, (2, 2))
        middle, size = box.mean(0), box[1] - box[0]
        return middle + rng.normal(0, 0.1, 2) * size + (box - middle) * np.exp(rng.normal(0, 0.1, 2))

    world.outline = outline
    found = world.follow(100, every, ahead)
    assert len(world.searched) <= 1.1 * 100 / every + AHEAD + 2
    boxes = [tracks_of(found)[0][frame].box_xyxy for frame in range(100)]
    true = [world.true_box("a", frame) for frame in range(100)]
    assert min(map(shared_part, boxes, true)) > 0.75
    bends = np.abs(np.diff(np.array(boxes), 2, axis=0)).max(-1)
    assert bends.mean() < 2.0  # the hand is 80 pixels large and moves evenly


@pytest.mark.parametrize("ahead", [0, 12])
def test_uneven_ways_are_learned_and_then_meshes_are_believed(ahead):
    """A hand that waves, found at other points of the wave each time."""
    world = World({"a": lambda t: (200 + 30 * np.sin(2 * np.pi * t / 20), 200, 80)})
    found = world.follow(120, 8, ahead)
    assert [box.track for boxes in found.values() for box in boxes] == [0] * 120
    late = [shared_part(found[t][0].box_xyxy, world.true_box("a", t)) for t in range(60, 120)]
    assert min(late) > 0.75
    assert len(world.searched) < 30


def wave(hertz, share, size=80.0):
    """A hand that waves to both sides by a share of its size."""
    return lambda t: (300 + share * size * np.sin(2 * np.pi * hertz * t / FPS), 200, size)


@pytest.mark.parametrize(("hertz", "share", "least"), [(1.0, 0.33, 0.8), (2.5, 0.33, 0.7), (1.7, 0.5, 0.7)])
@pytest.mark.parametrize(("every", "ahead"), [(3, 0), (5, 5), (10, 0), (10, 12)])
def test_a_hand_that_waves_fast_stays_one_hand(hertz, share, least, every, ahead):
    """Its way turns round between two turns of the detector, which is asked more often then."""
    rng = np.random.default_rng(0)
    world = World({"a": wave(hertz, share)})
    sees = world.outline
    world.outline = lambda job, index: sees(job, index) + rng.normal(0, 3.0, 2)
    found = world.follow(150, every, ahead)
    assert {box.track for boxes in found.values() for box in boxes} == {0}
    overlaps = [shared_part(found[t][0].box_xyxy, world.true_box("a", t)) for t in range(20, 150) if found[t]]
    assert len(overlaps) == 130
    assert np.mean(overlaps) > least


@pytest.mark.parametrize("every", [5, 10])
def test_the_detector_is_not_asked_more_often_for_what_moves_evenly(every):
    rng = np.random.default_rng(1)
    for way in (wave(0, 0), moving(100, 2), wave(0.3, 0.3)):
        world = World({"a": way})
        sees = world.outline
        world.outline = lambda job, index, sees=sees: sees(job, index) + rng.normal(0, 3.0, 2)
        world.follow(150, every, ahead=0)
        assert len(world.searched) <= 150 / every + AHEAD + 1
