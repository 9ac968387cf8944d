"""Held plans in clips: which crops share plans, and that meshes jump less."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from clip_runs import run
from toy_demo import write_boxes

from shared_tmu.demo.batching import Batch
from shared_tmu.demo.clip_writer import ClipWriter
from shared_tmu.demo.holding import KEPT_FRAMES, PlanHolder
from shared_tmu.demo.options import parse_options
from shared_tmu.detect import HandBox
from shared_tmu.errors import InputError
from shared_tmu.pictures.cells import MAX_CHANGE, cells_of, change_between

RNG = np.random.default_rng(0)
IMAGE = RNG.standard_normal((3, 64, 48)).astype(np.float32)
OTHER = RNG.standard_normal((3, 64, 48)).astype(np.float32)


def frame(number, *tracks):
    """A frame with right hands of these tracks, or left ones of negative numbers."""
    found = [HandBox((0.0, 0.0, 40.0, 40.0), is_right=track >= 0, track=abs(track)) for track in tracks]
    return SimpleNamespace(
        source=SimpleNamespace(key=str(number)), detection=SimpleNamespace(boxes=found), predictions=[]
    )


def names_of(holder, *jobs, images=None):
    """The names of the crops of some frames in one batch."""
    places = [job for job in jobs for _ in (job.detection.boxes if job else (None,))]
    images = images or [IMAGE if job else None for job in places]
    return list(holder.of(Batch(tuple(images), tuple(places), (None,) * len(places))).names)


def test_a_subject_keeps_its_name_through_frames_and_batches():
    holder = PlanHolder()
    first = names_of(holder, frame(0, 1, 2), frame(1, 2, 1))
    assert first == [first[0], first[1], first[1], first[0]]
    assert first[0] != first[1]
    assert names_of(holder, frame(4, 1, 2)) == first[:2]


def test_a_batch_may_end_in_the_middle_of_a_frame():
    holder, job = PlanHolder(), frame(0, 1, 2)
    one = holder.of(Batch((IMAGE,), (job,), (None,))).names
    job.predictions.append(None)
    two = holder.of(Batch((IMAGE,), (job,), (None,))).names
    assert names_of(holder, frame(1, 1, 2)) == [*one, *two]


@pytest.mark.parametrize(
    "then",
    [
        pytest.param(frame(1, 2), id="another track"),
        pytest.param(frame(1, -1), id="the other side, whose crop is mirrored"),
        pytest.param(frame(KEPT_FRAMES + 1, 1), id="long after"),
    ],
)
def test_another_subject_has_another_name(then):
    holder = PlanHolder()
    (first,) = names_of(holder, frame(0, 1))
    assert names_of(holder, then) != [first]


def test_plans_of_tracks_that_are_gone_are_dropped():
    holder = PlanHolder()
    for number in range(300):
        names_of(holder, frame(number, number // 10))
    assert len(holder._held) <= KEPT_FRAMES // 10 + 2


def test_gaps_have_no_name():
    assert names_of(PlanHolder(), None, frame(1, 0)) == [None, 0]


def test_a_crop_that_has_changed_gets_new_plans_once():
    holder, a_little = PlanHolder(), IMAGE + 0.1 * OTHER
    (first,) = names_of(holder, frame(0, 0))
    assert change_between(cells_of(IMAGE), cells_of(a_little)) < MAX_CHANGE
    assert names_of(holder, frame(1, 0), images=[a_little]) == [first]
    (new,) = names_of(holder, frame(2, 0), images=[OTHER])
    assert new != first
    assert names_of(holder, frame(3, 0), images=[OTHER]) == [new]


def test_change_adds_up_however_slow_it_is():
    """Crops are compared with the one that made the plans, not with the frame before."""
    holder = PlanHolder()
    names = [
        names_of(holder, frame(n, 0), images=[(1 - n / 50) * IMAGE + n / 50 * OTHER])[0] for n in range(50)
    ]
    assert 3 <= len(set(names)) <= 10
    assert names == sorted(names)


def test_change_does_not_depend_on_brightness_of_both():
    small, large = cells_of(IMAGE), cells_of(OTHER)
    assert change_between(3 * small + 5, 3 * large + 5) == pytest.approx(
        change_between(small, large), rel=1e-4
    )
    assert cells_of(np.ones((3, 67, 50), np.float32)).shape == (3, 16, 12)


def shaking_clip(path, frames=12):
    """One picture, whose values differ from frame to frame as much as a codec makes them."""
    coarse = np.random.default_rng(1).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    still = cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC).astype(np.float64)
    rng = np.random.default_rng(2)
    with ClipWriter(path, (160, 120)) as writer:
        for index in range(frames):
            noisy = still + rng.normal(0, 6, still.shape)
            writer.write(noisy.clip(0, 255).astype(np.uint8), index / 10)
        writer.finish(frames / 10)
    return path


@pytest.mark.parametrize("size", [1, 5])
def test_meshes_of_a_still_clip_move_less_with_held_plans(program, out, tmp_path, size):
    clip = shaking_clip(tmp_path / "clip.mp4")
    boxes = write_boxes(
        tmp_path / "boxes.json", {"clip.mp4": [{"box_xyxy": [30, 20, 90, 90], "is_right": True}]}
    )
    moved = {}
    for flag in ("--hold", "--no-hold"):
        flags = ("--no-overlays", "--r", "20x2", "--mask", "none", "--batch_size", size, flag)
        assert run(program, clip, out / flag, *flags, boxes=boxes) == 0
        vertices = np.load(out / flag / "clip.npz")["vertices_m"]
        moved[flag] = np.linalg.norm(np.diff(vertices, axis=0), axis=-1).mean()
    assert 0 < moved["--hold"] < 0.8 * moved["--no-hold"]


def test_methods_that_cannot_are_left_alone_unless_asked(program, clip, boxes, out, caplog):
    assert run(program, clip, out, "--method", "tofu", "--no-overlays", boxes=boxes) == 0
    assert "Every frame merges for itself: plans of method 'tofu' cannot be held" in caplog.text
    assert run(program, clip, out / "b", "--method", "tofu", "--no-overlays", "--hold", boxes=boxes) == 1
    assert "cannot be held" in caplog.messages[-1]


def test_pictures_have_no_earlier_frames(program):
    with pytest.raises(InputError, match="only --video and --camera have"):
        parse_options(program, ["--hold"])
