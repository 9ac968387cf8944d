"""Chance by parts: what one part draws leaves the pictures of all others as they are."""

from __future__ import annotations

import numpy as np
import pytest

from shared_tmu.synth import Difficulty, sample_scene, shading
from shared_tmu.synth.background import background
from shared_tmu.synth.body import sample_body_scene
from shared_tmu.synth.chance import NAMED, ONE_GENERATOR, Chance
from shared_tmu.synth.generator import draw
from shared_tmu.synth.scene import Scene


def test_every_part_has_numbers_of_its_own_that_repeat() -> None:
    chance = Chance((5, 3))
    drawn = {part: chance.of(part).random(4).tolist() for part in ("skin", "light", "camera")}
    assert len({tuple(numbers) for numbers in drawn.values()}) == 3
    assert Chance((5, 3)).of("light").random(4).tolist() == drawn["light"]
    assert Chance((5, 4)).of("light").random(4).tolist() != drawn["light"]


def test_the_first_version_visits_all_parts_with_one_generator() -> None:
    chance = Chance((5, 3), ONE_GENERATOR)
    one = np.random.default_rng((5, 3))
    assert [chance.of(part).random() for part in ("skin", "light", "skin")] == one.random(3).tolist()


@pytest.mark.parametrize("draws", [NAMED, ONE_GENERATOR])
def test_the_seed_of_the_skin_hangs_on_its_tone_only_in_the_first_version(draws) -> None:
    seeds = [Chance((5, 3), draws).seed_of_skin(np.full(3, tone, np.float32)) for tone in (0.2, 0.3)]
    assert (seeds[0] == seeds[1]) == (draws == NAMED)


@pytest.mark.parametrize(("draws", "same"), [(NAMED, True), (ONE_GENERATOR, False)])
def test_a_background_that_draws_more_changes_nothing_else(draws, same, monkeypatch) -> None:
    scene = sample_scene(5, 1, draws=draws)
    before = draw(scene).image

    def greedy(rng, *size):
        made = background(rng, *size)
        rng.random(1000)
        return made

    monkeypatch.setattr(shading, "background", greedy)
    assert np.array_equal(draw(scene).image, before) == same


def test_another_orientation_leaves_fingers_place_and_shape() -> None:
    front, wild = (sample_scene(5, 1, Difficulty(max_turn_deg=limit)) for limit in (10.0, 180.0))
    assert not np.array_equal(front.root, wild.root)
    for name in ("fingers", "betas", "offset", "wrist_bend", "hand_size_px"):
        assert np.array_equal(getattr(front, name), getattr(wild, name)), name


def test_scenes_of_both_kinds_say_how_they_are_drawn() -> None:
    made: list[Scene] = [sample_scene(5, 1), sample_body_scene(5, 1)]  # type: ignore[list-item]
    assert {scene.draws for scene in made} == {NAMED}
    wild = sample_scene(5, 1, Difficulty(variety=1.0), ONE_GENERATOR)
    assert wild.looks().of("any").random() == np.random.default_rng((5, 1, 1, 2)).random()
