"""X2: a speed is told as a ratio of what was measured in turn in one run; FastHMR's are shown as theirs."""

import json
import re

import pytest
from measure_video import line_of
from pages import PAGES, ROOT

PUBLISHED = "fasthmr_published.jsonl"
LINES = [
    (path.name, json.loads(line))
    for path in sorted((ROOT / "assets").glob("*.jsonl"))
    for line in path.read_text(encoding="utf-8").splitlines()
    if line.strip()
]


def test_every_published_speed_up_has_the_spread_of_its_rounds() -> None:
    told = [(name, line) for name, line in LINES if name != PUBLISHED and line.get("speedup") is not None]
    assert len(told) > 100
    for name, line in told:
        if line["schedule"] == "off" and line["speedup"] == 1:  # what the others are compared with
            continue
        low, high = line["speedup_quartiles"]
        assert low <= line["speedup"] <= high, (name, line["schedule"])


def test_frames_per_second_of_videos_are_compared_round_by_round() -> None:
    told = [line for _, line in LINES if "ratio" in line]
    assert told
    for line in told:
        assert line["rounds"] >= 2
        assert line["ratio_from"] <= line["ratio"] <= line["ratio_to"]


def test_what_slows_a_round_down_changes_no_ratio() -> None:
    def record(seconds: float) -> dict[str, object]:
        spent = {"detect": seconds / 2, "model": seconds / 4}
        return {"frames": 60, "hands": 120, "searched": 60, "wall_s": seconds, "seconds": spent}

    slow = (1.0, 3.0, 2.0)
    line = line_of([record(4 * factor) for factor in slow], [record(6 * factor) for factor in slow])
    ratios = [line[name] for name in ("ratio", "ratio_from", "ratio_to")]
    assert ratios == pytest.approx([1.5, 1.5, 1.5])


def test_fasthmrs_figures_are_theirs() -> None:
    """Their 2.3 and 1.9 times stand in a table that names their graphics card, and nowhere else."""
    block = re.compile(rf"<!-- results:begin \S*{re.escape(PUBLISHED)} -->(.*?)<!-- results:end -->", re.S)
    places = 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for table in block.findall(text):
            places += 1
            assert all(told in table for told in ("RTX 3090", "(theirs)", "2.30x", "1.90x"))
        for part in block.sub("", text).split("\n\n"):
            if "FastHMR" in part and re.search(r"\b(?:2\.30?|1\.90?) ?(?:x|×|times)", part):
                assert "RTX 3090" in part, (page.name, part)
    assert places
