"""`predict(frames, hold=True)`: frames keep merge plans, as in the demo's clips."""

import numpy as np
import pytest
from api.asked import boxes_of, same, sides_of

from shared_tmu.demo.holding import PlanHolder
from shared_tmu.errors import HoldError, InputError


@pytest.fixture
def frames(images):
    """Three frames that hardly differ."""
    import cv2

    picture = cv2.imread(str(images / "a.jpg"))[:, :, ::-1]
    rng = np.random.default_rng(0)
    noise = rng.integers(-6, 7, (3, *picture.shape))
    return [np.clip(picture + part, 0, 255).astype(np.uint8) for part in noise]


def predict(model, frames, **options):
    given = [boxes_of("a.jpg")] * len(frames), [sides_of("a.jpg")] * len(frames)
    return list(model.predict(iter(frames), *given, **options))


def test_frames_keep_the_plans_of_the_first(load, frames, monkeypatch):
    holders = []
    monkeypatch.setattr(
        "shared_tmu.api.stream.PlanHolder", lambda: holders.append(PlanHolder()) or holders[-1]
    )
    model = load(r="6x4", mask="none", batch_size=2)
    plain, held = predict(model, frames), predict(model, frames, hold=True)
    assert len(holders) == 1
    assert next(holders[0]._numbers) == 2  # two hands, whose names never changed
    assert same(plain[0], held[0])
    assert not all(same(a, b) for a, b in zip(plain, held, strict=True))
    assert all(same(a, b) for a, b in zip(predict(model, frames, hold=True), held, strict=True))  # per call
    assert all(same(a, b) for a, b in zip(predict(model, frames), plain, strict=True))


def test_nothing_is_held_without_merging(load, frames):
    with load().at("off") as model:
        pairs = zip(predict(model, frames), predict(model, frames, hold=True), strict=True)
        assert all(same(a, b) for a, b in pairs)


def test_what_cannot_be_held_is_refused(load, frames):
    model = load()
    for pictures in (frames[0], frames):
        with pytest.raises(InputError, match="pass an iterator"):
            model.predict(pictures, hold=True)
    with pytest.raises(HoldError):
        predict(load(method="dct", mask="none"), frames, hold=True)


def test_hands_of_one_side_are_held_apart(load, frames):
    model = load(r="6x4", mask="none", batch_size=2)
    boxes = [boxes_of("a.jpg")] * len(frames), [["right"] * 2] * len(frames)
    plain, held = (list(model.predict(iter(frames), *boxes, hold=hold)) for hold in (False, True))
    assert same(plain[0], held[0])
    assert not any(same(a, b) for a, b in zip(plain[1:], held[1:], strict=True))
