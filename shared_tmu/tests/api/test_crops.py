"""What a model keeps with `tokens=True`: pictures of merged tokens, and times of the network."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from api.asked import boxes_of, same, sides_of

from shared_tmu.api import Hand, load_model
from shared_tmu.errors import InputError, TMUError

GIVEN = boxes_of("a.jpg"), sides_of("a.jpg")


def test_tokens_are_drawn_as_the_demo_draws_them_and_change_nothing_else(load, images):
    path = images / "a.jpg"
    result = load(tokens=True).predict(path, *GIVEN)
    assert same(result, load().predict(path, *GIVEN))
    right, left = (hand.draw_tokens() for hand in result)
    assert right.dtype == np.uint8
    assert right.ndim == 3
    assert not np.array_equal(right, left)
    with load(tokens=True).at("off") as off:
        (panel, _) = (hand.draw_tokens() for hand in off.predict(path, *GIVEN))
    assert panel.shape[1] < right.shape[1]  # only the crop


def test_without_tokens_nothing_is_kept_and_the_message_says_how(load, images):
    model = load(tokens=False)
    result = model.predict(images / "a.jpg", *GIVEN)
    for ask in (result[0].draw_tokens, lambda: model.measure(result)):
        with pytest.raises(TMUError, match="pass tokens=True to load"):
            ask()


def test_times_are_of_both_settings_and_leave_the_model_as_it_was(load, images):
    model = load(tokens=True)
    before = model.predict(images / "a.jpg", *GIVEN)
    speed = model.measure(before, rounds=3)
    assert speed.setting == model.setting
    assert speed.count == 2
    assert min(speed.off_ms, speed.merged_ms, speed.speedup) > 0
    assert speed.quartiles[0] <= speed.speedup <= speed.quartiles[1]
    with model.at("off"):
        assert model.measure(before, rounds=1).setting == "off"
    assert same(before, model.predict(images / "a.jpg", *GIVEN))
    many = model.predict(images / "d.jpg", boxes_of("d.jpg"), sides_of("d.jpg"))
    assert model.measure(many, rounds=1).count == 3  # one batch


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rounds": 0}, "rounds is 0"), ({"rounds": -1}, "rounds"), ({"rounds": 2.5}, "rounds"),
        ({"rounds": "x"}, "rounds"), ({"rounds": True}, "rounds"), ({"budget_s": float("nan")}, "budget_s"),
        ({"budget_s": 0}, "budget_s"), ({"budget_s": "x"}, "budget_s"),
    ],
)  # fmt: skip
def test_numbers_that_time_nothing_are_refused(options, said, load, images):
    model = load(tokens=True)
    result = model.predict(images / "a.jpg", *GIVEN)
    with pytest.raises(InputError, match=said):
        model.measure(result, **options)
    assert model.measure(result, rounds=np.int64(1), budget_s=np.float32(1)).count == 2


def test_only_results_of_the_model_itself_are_timed(load, program, images):
    model = load(tokens=True)
    result = model.predict(images / "a.jpg", *GIVEN)
    for other in (result[0], [result], None):
        with pytest.raises(InputError, match="result of a picture"):
            model.measure(other)
    given = {"r": "4x3", "device": "cpu", "tokens": True}
    stranger = load_model(replace(program, name="Other"), Hand, given)
    with pytest.raises(InputError, match="result of Other"):
        model.measure(stranger.predict(images / "a.jpg", *GIVEN))


@pytest.mark.parametrize("most", [0, -1, 1.5, "x", True])
def test_a_number_of_steps_is_a_whole_one(most, load, images):
    hand = load(tokens=True).predict(images / "a.jpg", *GIVEN)[0]
    with pytest.raises(InputError, match="most is"):
        hand.draw_tokens(most)
    assert hand.draw_tokens(1000).shape == hand.draw_tokens(np.int64(3)).shape  # it has three


def test_all_meshes_are_saved_as_one_file(load, images, tmp_path):
    result = load().predict(images / "a.jpg", *GIVEN)
    scene = trimesh.load(result.save(tmp_path / "a.glb"))
    assert sorted(scene.geometry) == ["hand_0", "hand_1"]
    for index, hand in enumerate(result):
        saved = scene.geometry[f"hand_{index}"]
        assert np.allclose(saved.vertices, hand.mesh("viewer").vertices, atol=1e-5)
        assert np.array_equal(saved.faces, hand.faces)
