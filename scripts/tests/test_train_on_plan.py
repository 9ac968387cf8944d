"""What train_on.py decides: which model, training or drawing, and how long a round is."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_parts.keeping import ModelState, Point, State
from training_parts.planning import (
    BODY,
    DRAWING,
    EXPONENT,
    PICTURES_PER_SCENE,
    Standing,
    Stock,
    choose_model,
    choose_step,
    exponent_of,
    gain_of,
    scaled,
    scenes_for,
    shards_to_draw,
)
from training_parts.telling import status_line


def standing(subject: str = "hand", **changes: object) -> Standing:
    common: dict[str, object] = {
        **{"pictures": 1_000_000, "log": (), "round_pictures": 150_000, "per_s": 50.0},
        **{"seconds": 0.0, "is_open": False},
    }
    return Standing(subject, **{**common, **changes})  # type: ignore[arg-type]


@given(st.floats(0.05, 0.9), st.floats(1.0, 100.0))
def test_the_own_log_gives_the_exponent_from_three_rounds_on(power: float, factor: float) -> None:
    log = [(n, factor * n**-power) for n in (500_000, 700_000, 900_000)]
    assert exponent_of(log[:1]) == exponent_of(log[:2]) == EXPONENT
    assert exponent_of(log) == pytest.approx(power, rel=1e-6)


def test_a_log_of_little_growth_or_without_gain_does_not_mislead() -> None:
    assert exponent_of([(1000, 9.0), (1010, 5.0), (1020, 3.0)]) == EXPONENT
    assert exponent_of([(1000, 9.0), (2000, 9.5), (4000, 10.0)]) == pytest.approx(0.02)


def test_the_gain_is_larger_for_fewer_pictures_faster_training_and_a_better_trunk() -> None:
    base = gain_of(standing(), 0)
    assert base > 0
    assert gain_of(standing(pictures=500_000), 0) > base
    assert gain_of(standing(per_s=80.0), 0) > base
    assert gain_of(standing(), 1_200_000) > base
    assert gain_of(standing(log=[(n, n**-0.5) for n in (1, 2, 4)]), 0) > base


def test_an_open_round_of_a_hand_model_goes_on() -> None:
    models = {"a": standing(pictures=100), "b": standing(is_open=True)}
    assert choose_model(models) == "b"
    assert choose_model({"a": standing(pictures=100), "b": standing()}) == "a"


@pytest.mark.parametrize("subject", ["hand", "body"])
def test_one_model_alone_is_always_chosen(subject: str) -> None:
    assert choose_model({"it": standing(subject, seconds=9e9)}) == "it"


def test_a_round_waits_for_its_fresh_scenes_and_an_open_one_does_not() -> None:
    poor = {"hand": Stock(fresh=9_999, seen=0, draw_s=0, train_s=0)}
    step = choose_step({"a": standing()}, poor)
    assert step.draws
    assert "10,000" in step.why
    assert not choose_step({"a": standing(is_open=True)}, poor).draws
    rich = {"hand": Stock(fresh=10_000, seen=0, draw_s=0, train_s=0)}
    assert not choose_step({"a": standing()}, rich).draws


@dataclass
class Life:
    """A model that is trained in a simulation."""

    subject: str
    pictures: int
    per_s: float
    left: int = 0
    seconds: float = 0.0


@settings(max_examples=20, deadline=None)
@given(st.floats(1.0, 20.0), st.floats(0.5, 2.0), st.integers(0, 60_000))
def test_days_of_training_keep_every_promise(scenes_per_s: float, speed: float, there: int) -> None:
    lives = {
        "hamer": Life("hand", 1_219_136, 60.0 * speed),
        "wilor": Life("hand", 1_028_160, 55.0 * speed),
        "smplest-x": Life("body", 336_992, 25.0 * speed),
    }
    fresh, seen = {"hand": there, "body": there // 2}, {"hand": 0, "body": 0}
    drawn, trained = {"hand": 0.0, "body": 0.0}, {"hand": 0.0, "body": 0.0}
    turns: list[str] = []
    for _ in range(800):
        models = {
            name: Standing(
                *(one.subject, one.pictures, (), 5400 * int(one.per_s), one.per_s),
                seconds=one.seconds + drawn[one.subject] / (2 if one.subject == "hand" else 1),
                is_open=one.left > 0,
            )
            for name, one in lives.items()
        }
        stocks = {s: Stock(fresh[s], seen[s], drawn[s], trained[s]) for s in fresh}
        step = choose_step(models, stocks)
        one = lives[step.model]
        if step.draws:
            shards = shards_to_draw(225.0, scenes_per_s, 500)
            fresh[one.subject] += 500 * shards
            drawn[one.subject] += 500 * shards / scenes_per_s
            continue
        if not one.left:
            one.left = models[step.model].round_pictures
            if one.subject == "hand":
                one.pictures = max(other.pictures for other in lives.values())
                turns.append(step.model)
        now = min(one.left, int(900 * one.per_s))
        one.left -= now
        one.pictures += now
        one.seconds += now / one.per_s
        seen[one.subject] += now
        trained[one.subject] += now / one.per_s
        assert seen[one.subject] <= PICTURES_PER_SCENE * fresh[one.subject]
    assert all(first != second for first, second in pairwise(turns))
    total = sum(trained.values()) + sum(drawn.values())
    assert (trained["body"] + drawn["body"]) / total == pytest.approx(BODY, abs=0.05)
    for subject in drawn:
        assert drawn[subject] / (drawn[subject] + trained[subject]) > DRAWING - 0.03


@given(st.integers(10_000, 10**6))
def test_a_short_round_shortens_all_but_the_deep_stage(most: int) -> None:
    stages = [("again", 8, 300_000), ("full", 8, 120_000), ("deep", 32, 4000)]
    found = scaled(stages, most)
    assert found["deep"] == 4000
    assert sum(found.values()) <= max(most, 26_000)
    assert sum(found.values()) >= min(most, 424_000) - 2
    assert found["again"] / found["full"] == pytest.approx(2.5, rel=0.01)


def test_a_round_at_one_depth_is_as_long_as_configured() -> None:
    assert scaled([("only", 8, 5000)], 100) == {"only": 5000}


def test_scenes_and_shards_are_rounded_up() -> None:
    assert [scenes_for(n) for n in (0, 1, 15, 16)] == [0, 1, 1, 2]
    assert [shards_to_draw(225, speed, 500) for speed in (None, 0.5, 10.0)] == [1, 1, 4]


def test_the_status_says_whether_the_power_was_measured_or_assumed():
    log = [Point(count, 50.0 * count**-0.1) for count in (500_000, 700_000, 900_000)]
    short, long = (
        status_line(
            State({"one": ModelState("", 900_000, log[:some], list(range(1, some)))}, {}),
            {},
            {"one": "One"},
            runs=False,
        )
        for some in (2, 3)
    )
    assert f"(assumed power {EXPONENT:.2f}, 1 round)" in short
    assert "(power 0.10, 2 rounds)" in long
