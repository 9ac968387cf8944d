"""Masks in the demo: drawn with the crops, told where there are none, refused where they cannot be."""

import json

import numpy as np
import pytest
import torch
from toy_demo import BOXES, demo_program, run, write_boxes, write_pictures

from shared_tmu.demo import main
from shared_tmu.demo.options import parse_options
from shared_tmu.demo.subjects import HANDS, PEOPLE
from shared_tmu.demo.together import auto_mask
from shared_tmu.detect import Detection, HandBox, PersonBox
from shared_tmu.errors import InputError
from shared_tmu.masks import MASKS, MaskPlace, ProbeFacts, TokenProbe, weights_before
from shared_tmu.programs.mask_flags import probe_beside

NAMES = ("a", "b", "d")  # pictures with hands


@pytest.fixture
def demo(tmp_path):
    """Run the toy demo on pictures with known boxes; returns (status, vertices by picture)."""
    images, boxes = write_pictures(tmp_path / "images"), write_boxes(tmp_path / "boxes.json")

    def call(out, *flags, boxes=boxes):
        program = demo_program(tmp_path / "toy")
        flags = ("--r", "20x2", "--no-overlays", *flags)
        status = run(program, images, tmp_path / out, *flags, boxes=boxes)
        found = {name: np.load(tmp_path / out / f"{name}.npz")["vertices_m"] for name in NAMES}
        return status, found

    return call


def test_a_mask_changes_what_merges_and_is_told(demo, capsys):
    _, plain = demo("plain", "--mask", "none")
    assert "\nmask " not in capsys.readouterr().out
    status, boxed = demo("boxed", "--mask", "box")
    assert status == 0
    said = capsys.readouterr().out
    assert [line.split()[1:] for line in said.splitlines() if line.startswith("mask ")] == [["box"]]
    assert all(np.abs(plain[name] - boxed[name]).max() > 1e-6 for name in NAMES)
    for size in ("1", "3"):  # every crop has its own, whichever batch it is in
        _, other = demo(f"batch{size}", "--mask", "box", "--batch_size", size)
        for name in NAMES:
            np.testing.assert_allclose(other[name], boxed[name], atol=1e-5)


def masks_in(folder):
    """What the `.json` files say of every hand."""
    return {name: json.loads((folder / f"{name}.json").read_text())["masks"] for name in NAMES}


def test_without_landmarks_auto_takes_what_is_known_and_says_so(demo, capsys, tmp_path):
    _, boxed = demo("boxed", "--mask", "box")
    capsys.readouterr()
    status, auto = demo("auto")
    assert status == 0
    count = sum(map(len, BOXES.values()))
    assert f"box for {count} of {count} hands" in capsys.readouterr().out
    assert {name for names in masks_in(tmp_path / "auto").values() for name in names} == {"box"}
    for name in NAMES:
        np.testing.assert_array_equal(boxed[name], auto[name])
    _, plain = demo("plain", "--mask", "none")
    capsys.readouterr()
    status, lost = demo("lost", "--mask", "landmarks")
    line = f"none for {count} of {count} hands: the detector gave no landmarks"
    assert line in capsys.readouterr().out
    for name in NAMES:
        np.testing.assert_array_equal(plain[name], lost[name])


def write_probe(folder, block=0):
    """A probe for the toy model that likes bright red, beside its weights."""
    program = demo_program(folder)
    vit = program.load_model(None).backbone
    weight = vit.patch_embed.weight[:, 0].sum((1, 2)).detach()
    probe = TokenProbe(weight, torch.tensor(0.0), block)
    path = probe_beside(program.default_checkpoint)
    probe.save(path, ProbeFacts("Toy", weights_before(vit, block), {}))
    return path


def test_a_probe_needs_no_detector_and_fills_what_landmarks_leave(demo, capsys, monkeypatch, tmp_path):
    _, boxed = demo("boxed")
    write_probe(tmp_path / "toy")
    _, probed = demo("probed", "--mask", "probe")
    capsys.readouterr()
    _, auto = demo("auto")
    said = capsys.readouterr().out
    assert [line.split()[1:] for line in said.splitlines() if line.startswith("mask ")] == [["probe"]]
    monkeypatch.setattr(HANDS, "make_detector", lambda *given: Marked(), raising=False)
    _, mixed = demo("mixed", "--mask", "landmarks+probe", boxes=None)
    assert "landmarks for 6 of 7 hands, probe for 1 of 7 hands" in capsys.readouterr().out
    assert masks_in(tmp_path / "mixed") == {"a": ["landmarks"] * 2, "b": ["probe"], "d": ["landmarks"] * 4}
    for name in NAMES:
        np.testing.assert_array_equal(auto[name], probed[name])
        assert np.abs(probed[name] - boxed[name]).max() > 1e-6
    np.testing.assert_allclose(mixed["b"], probed["b"], atol=1e-6)
    assert np.abs(mixed["a"] - probed["a"]).max() > 1e-6


def test_a_probe_for_other_weights_is_refused(demo, tmp_path, caplog):
    path = write_probe(tmp_path / "toy")
    probe, _ = TokenProbe.load(path)
    probe.save(path, ProbeFacts("Other", "0" * 64, {}))
    program = demo_program(tmp_path / "toy")
    images, boxes = write_pictures(tmp_path / "images"), write_boxes(tmp_path / "boxes.json")
    assert run(program, images, tmp_path / "out", "--r", "20x2", boxes=boxes) == 1
    assert "was trained for other weights (Other)" in caplog.text


class Marked:
    """Gives the boxes of `BOXES`, each with landmarks that lie all over its box but for one."""

    name = "marked"

    def detect(self, image_bgr, image_name):
        found = []
        for entry in BOXES[image_name]:
            x1, y1, x2, y2 = entry["box_xyxy"]
            grid = np.stack(np.meshgrid(np.linspace(x1, x2, 7), np.linspace(y1, y2, 3)), -1).reshape(21, 2)
            points = None if image_name == "b.png" else grid.astype(float)
            found.append(HandBox((x1, y1, x2, y2), entry["is_right"], landmarks_px=points))
        return Detection(tuple(found))


def test_landmarks_of_the_detector_are_the_default(demo, capsys, monkeypatch):
    _, plain = demo("plain", "--mask", "none")
    monkeypatch.setattr(HANDS, "make_detector", lambda *given: Marked(), raising=False)
    capsys.readouterr()
    status, auto = demo("auto", boxes=None)
    assert status == 0
    assert "landmarks for 6 of 7 hands, box for 1 of 7 hands" in capsys.readouterr().out
    for name in NAMES:
        assert np.abs(auto[name] - plain[name]).max() > 1e-6


def test_compared_ways_have_the_same_mask(demo, capsys):
    _, alone = demo("alone", "--mask", "box")
    capsys.readouterr()
    _, compared = demo("compare", "--mask", "box", "--compare")
    moved = {
        line.split()[0]: line.split()[-1]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith(("baseline", "TMU"))
    }
    _, off = demo("off", "--r", "off", "--mask", "none")
    distances = [np.linalg.norm(alone[n] - off[n], axis=-1).mean(axis=-1) for n in NAMES]
    assert float(moved["TMU"]) == pytest.approx(1000 * np.concatenate(distances).mean(), abs=0.01)
    assert moved["baseline"] == "0.00"
    for name in NAMES:
        np.testing.assert_allclose(compared[name], alone[name], atol=1e-6)


def test_masks_that_cannot_be_are_refused(tmp_path):
    program = demo_program(tmp_path / "toy")
    for flags, message in (
        (("--mask", "truth"), "pictures have none"),
        (("--mask", "previous"), "only videos have"),
        (("--mask", "probe"), "does not exist"),
        (("--mask", "box", "--probe", "p.safetensors"), "no mask reads it"),
        (("--mask", "magic"), "use one of auto, none, landmarks, box"),
        (("--mask", "box", "--r", "off"), "needs merging, but --r is off"),
        (("--mask", "box", "--method", "dct"), "mixes all"),
        (("--mask", "auto+box"), "'auto' goes with no other"),
        (("--mask", "probe", "--probe", str(tmp_path)), "is no file"),
        (("--mask", "none", "--background", "3"), "--background was given, but no mask uses it"),
        (("--r", "off", "--background", "first"), "no mask uses it"),
        (("--method", "dct", "--background", "0"), "no mask uses it"),
    ):
        with pytest.raises(InputError, match=message):
            parse_options(program, flags)
    assert main(program, ["--mask", "magic"]) == 1
    assert parse_options(program, ["--r", "off"]).run.mask == "none"
    assert parse_options(program, ["--method", "dct"]).run.mask == "none"
    assert parse_options(program, ["--mask", "none", "--background", "weighed"]).run.mask == "none"
    assert parse_options(program, ["--background", "first"]).run.weight is None
    assert parse_options(program, []).run.mask == "landmarks+box"
    assert parse_options(program, ["--video", "clip.mp4"]).run.mask == "landmarks+previous+box"


def test_what_auto_stands_for(tmp_path):
    probe = tmp_path / "toy.probe.safetensors"
    for subject, is_video, without, found in (
        ("hand", False, "landmarks+box", "probe"),
        ("hand", True, "landmarks+previous+box", "probe"),
        ("body", False, "landmarks+box", "landmarks+probe"),
    ):
        place = MaskPlace(subject, has_truth=False, is_video=is_video)
        probe.unlink(missing_ok=True)
        assert auto_mask(probe, place) == without
        probe.write_bytes(b"x")
        assert auto_mask(probe, place) == found


@pytest.mark.parametrize("is_right", [True, False])
def test_boxes_of_both_hands_and_of_people_fill_the_middle_of_their_crops(is_right):
    image = np.zeros((200, 300, 3), np.uint8)
    hand = HandBox((100.0, 50.0, 160.0, 130.0), is_right)
    scene = HANDS.scene(hand, HANDS.crop(image, hand, 2.0, (256, 256)))
    drawn = MASKS["box"].draw(scene)
    assert drawn is not None
    rows, columns = np.nonzero(drawn)
    assert [rows.min(), rows.max(), columns.min(), columns.max()] == [64, 192, 80, 176]
    person = PersonBox((100.0, 50.0, 161.0, 131.0))
    drawn = MASKS["box"].draw(PEOPLE.scene(person, PEOPLE.crop(image, person, 1.25, (256, 192))))
    assert drawn is not None
    assert 0.3 < drawn.mean() < 0.9
    assert not drawn[0].any()
