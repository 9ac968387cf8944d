"""Which scenes train_on.py finds and draws: what photographs have, and for bodies only what they can have."""

import pytest
from training_parts import scenes
from training_parts.overrides import scene_overrides

from shared_tmu.synth.scene import Difficulty
from shared_tmu.synth.shards import shard_folder
from shared_tmu.training.drawing import Scenes


def put(cache, subject, seed, difficulty, shards=1):
    folder = shard_folder(cache, seed, difficulty, scenes.kind_of(subject))
    folder.mkdir(parents=True)
    for number in range(shards):
        (folder / f"{number:05d}.npz").touch()


def test_sets_of_the_recipes_and_its_own_are_found_with_their_difficulty(tmp_path):
    alike, own = Difficulty(variety=1, alike=1), scenes.DRAWN["hand"]
    put(tmp_path, "hand", 16, alike, 2)
    put(tmp_path, "hand", 16, Difficulty(variety=1))
    put(tmp_path, "hand", 300_000, own)
    put(tmp_path, "hand", 17, Difficulty(variety=0.123))
    put(tmp_path, "body", 18, scenes.DRAWN["body"])
    found = scenes.find_sets(tmp_path, "hand")
    assert [(one.seed, one.difficulty) for one in found] == [
        (16, Difficulty(variety=1)),
        (16, alike),
        (300_000, own),
    ]
    assert found[1].count == 2 * found[0].count
    assert [one.seed for one in scenes.find_sets(tmp_path, "body")] == [18]


@pytest.mark.parametrize("subject", ["hand", "body"])
def test_the_command_draws_what_is_found_again(tmp_path, subject):
    words = scenes.draw_command(tmp_path, subject, 100_000, 40)
    shares = {name: float(words[words.index(f"--{name}") + 1]) for name in ("variety",)}
    more = {"alike": "--alike", "other_hand": "--other-hand"}
    shares |= {name: float(words[words.index(flag) + 1]) for name, flag in more.items() if flag in words}
    assert Difficulty(**shares) == scenes.DRAWN[subject]
    assert ("--alike" in words) == (subject == "hand")


def test_settings_of_training_keep_every_share():
    sets = [Scenes(1, 10, Difficulty()), Scenes(2, 20, Difficulty(variety=0.5, alike=0.4, other_hand=0.15))]
    words = scene_overrides("again", sets)
    assert "++stages.again.difficulty={variety: 0}" in words
    assert words[-1] == (
        "++stages.again.also=[{seed: 2, count: 20, difficulty: {variety: 0.5, alike: 0.4, other_hand: 0.15}}]"
    )
