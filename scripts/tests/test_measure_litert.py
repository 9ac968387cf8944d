"""How the two ways to run MediaPipe's hand models are compared."""

import json
from pathlib import Path

import measure_litert as measure
import numpy as np
import pytest
from bundled import REPOSITORY

from shared_tmu.detect import Detection, HandBox


def hand(x: float, is_right: bool = True, size: float = 100.0, score: float = 0.9) -> HandBox:
    box = (x, 0.0, x + size, size)
    return HandBox(box, is_right, score, np.full((21, 2), x))


def test_hands_at_one_place_are_pairs_and_others_are_not() -> None:
    pairs = measure.matched(
        [hand(0), hand(300), hand(500)], [hand(501, False, score=0.8), hand(2), hand(800)]
    )
    assert [(pair.box_px, pair.landmarks_px) for pair in pairs] == [(2, 2), (1, 1)]
    assert [pair.same_side for pair in pairs] == [True, False]
    assert pairs[1].score == pytest.approx(0.1)
    told = measure.summary(pairs)
    assert (told["both"], told["same_side"]) == (2, 1)
    assert told["box_pct_of_size"] == {"median": 1.5, "largest": 2.0}
    assert measure.summary([]) == {"both": 0}


def test_all_pictures_are_counted_and_no_name_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Finder:
        name = "finder"

        def __init__(self, hands: tuple[HandBox, ...]) -> None:
            self.hands = hands

        def detect(self, image: object, name: str) -> Detection[HandBox]:
            return Detection(self.hands)

    made = {"mediapipe": Finder((hand(0), hand(300))), "litert": Finder((hand(1),))}
    monkeypatch.setattr(measure, "make_detector", lambda name, folder: made[name])
    monkeypatch.setattr(measure, "version", lambda name: "1")
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "private.jpg").write_bytes((REPOSITORY / "assets/samples/synthhand_2_left.jpg").read_bytes())
    out = tmp_path / "a.json"
    assert measure.main(["--photos", str(photos), "--out", str(out)]) == 0
    found = json.loads(out.read_text())["sets"]["photos"]
    assert [found[name] for name in ("pictures", "mediapipe", "litert", "both")] == [1, 2, 1, 1]
    assert "private" not in out.read_text()
    assert measure.main(["--photos", str(tmp_path / "nowhere"), "--out", str(out)]) == 1


def test_the_page_says_what_was_measured() -> None:
    """The sentence of PYTHON.md has the numbers of the file."""
    sets = json.loads((REPOSITORY / "assets" / "litert.json").read_text())["sets"]
    text = " ".join((REPOSITORY / "PYTHON.md").read_text(encoding="utf-8").split())
    both, hands = (sum(one[name] for one in sets.values()) for name in ("both", "mediapipe"))
    pictures = sum(one["pictures"] for one in sets.values())
    assert all(one["both"] == one["same_side"] == one["mediapipe"] == one["litert"] for one in sets.values())
    assert both == hands
    median = max(one["box_px"]["median"] for one in sets.values())
    largest = max(one["box_px"]["largest"] for one in sets.values())
    assert f"the same {hands} hands in {pictures} pictures" in text
    assert f"less than {np.ceil(median * 20) / 20:g} pixels (median) and at most {largest:.1f} pixels" in text
