"""Sets of version 2: integer seeds only, and compared with the published one when they are made."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from shared_tmu.datasets import open_dataset, synthbody, synthhand
from shared_tmu.errors import InputError
from shared_tmu.synth import chance, published, write_eval_set
from shared_tmu.synth.body import write_body_eval_set
from shared_tmu.synth.evalset import DRAWS, VERSION
from shared_tmu.synth.published import BLOCKS, check_published, publish

SETS = {
    "synthhand-eval-2": "SynthHand-Eval-2",
    "synthhand-varied-2": "SynthHand-Varied-2",
    "synthhand-other": "SynthHand-Other",
}
COUNTS = {"synthhand-other": synthhand.OTHER_COUNT}


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Three pictures that are published as `toy-2`."""
    monkeypatch.setattr(published, "PUBLISHED", tmp_path / "eval_sets.npz")
    made: list[Path] = []
    write_eval_set(tmp_path / "set", count=3, seed=12, version=2, check=made.extend)
    publish("toy-2", made)
    return made


def test_the_same_pictures_are_equal_bit_for_bit(pictures, caplog):
    caplog.set_level("INFO")
    check_published("toy-2", "Toy", pictures)
    check_published("toy-2", "Toy", pictures[:2])
    assert caplog.messages == ["Toy: the published pictures, bit for bit."] * 2


def test_pictures_that_differ_by_rounding_are_accepted_and_counted(pictures, caplog):
    caplog.set_level("INFO")
    image = cv2.imread(str(pictures[1])).astype(int)
    noise = np.random.default_rng(0).integers(-1, 2, image.shape)
    cv2.imwrite(str(pictures[1]), np.clip(image + noise, 0, 255).astype(np.uint8))
    check_published("toy-2", "Toy", pictures)
    assert "2 of 3 pictures are equal bit for bit" in caplog.text


def test_another_scene_is_refused_with_its_name(pictures):
    pictures[2].write_bytes(pictures[0].read_bytes())
    with pytest.raises(InputError, match=r"1 of 3 pictures differ .*00000002.jpg"):
        check_published("toy-2", "Toy", pictures)


def test_a_second_set_is_published_beside_the_first(pictures):
    before = published.published("toy-2")
    publish("other-2", pictures[:1])
    assert np.array_equal(published.published("toy-2").digest, before.digest)
    check_published("other-2", "Other", pictures[:1])


def test_a_refused_set_is_not_complete(tmp_path):
    def refuse(paths):
        raise InputError("other pictures")

    for _ in range(2):
        with pytest.raises(InputError, match="other pictures"):
            write_eval_set(tmp_path, count=1, seed=12, version=2, check=refuse)
    write_eval_set(tmp_path, count=1, seed=12, version=2)


@pytest.mark.parametrize("write", [write_eval_set, write_body_eval_set])
@pytest.mark.parametrize("variety", [0.0, 1.0])
def test_seeds_of_version_2_are_integers_only(write, variety, tmp_path, monkeypatch):
    """Not one that was made from a floating-point number, such as the sum of a skin's tones."""
    asked: list[object] = []
    original = chance.Chance.seed_of_skin

    def kept(self, tone):
        found = original(self, tone)
        assert found == original(self, np.nextafter(tone, np.float32(2.0)))  # another last bit
        asked.append(found)
        return found

    monkeypatch.setattr(chance.Chance, "seed_of_skin", kept)
    seeds = chance.np.random.SeedSequence

    class Watched(seeds):  # type: ignore[misc, valid-type]
        def __init__(self, entropy, *, spawn_key=()):
            asked.extend([*entropy, *spawn_key])
            super().__init__(entropy, spawn_key=spawn_key)

    monkeypatch.setattr(chance.np.random, "SeedSequence", Watched)
    write(tmp_path, count=1, seed=12, variety=variety, version=2)
    assert asked
    assert {type(one) for one in asked} == {int}


def test_version_1_stays_the_default_and_other_pictures(tmp_path):
    assert (VERSION, DRAWS[1], DRAWS[2]) == (1, chance.ONE_GENERATOR, chance.NAMED)
    folders = tmp_path / "plain", tmp_path / "1", tmp_path / "2"
    for folder, more in zip(folders, ({}, {"version": 1}, {"version": 2}), strict=True):
        write_eval_set(folder, count=1, seed=12, **more)
    plain, one, two = ((f / "evaluation" / "rgb" / "00000000.jpg").read_bytes() for f in folders)
    assert plain == one != two


@pytest.mark.parametrize("name", SETS)
def test_every_set_of_version_2_is_published(name):
    known = published.published(name)
    count = COUNTS.get(name, 1000)
    assert known.grey.shape == (count, BLOCKS, BLOCKS)
    assert known.digest.shape == (count, 8)


@pytest.mark.parametrize("name", SETS)
def test_opening_a_set_draws_the_published_pictures(name, tmp_path, monkeypatch, caplog):
    """Here bit for bit or up to rounding; another scene would be refused."""
    caplog.set_level("INFO")
    for module in (synthhand, synthbody):
        monkeypatch.setattr(module, "OFFICIAL_COUNT", 1)
    monkeypatch.setattr(synthhand, "OTHER_COUNT", 1)
    monkeypatch.setenv("SHARED_TMU_CACHE", str(tmp_path))
    opened = open_dataset(name, tmp_path)
    assert opened.name == name
    assert ("fit_pa_mpjpe_mm" in opened.facts) == (name == "synthhand-other")
    assert 0.0 < opened.facts.get("fit_pa_mpjpe_mm", 1.0) < 2.0
    assert 0.0 < opened.facts.get("fit_pa_mpvpe_mm", 1.0) < 3.0
    assert f"{SETS[name]}: the published" in caplog.text
    assert (tmp_path / name.replace("-", "_")).is_dir()
