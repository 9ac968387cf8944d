"""What cannot be used is refused with one sentence."""

import re

import numpy as np
import pytest
import torch
from api.asked import NAMES, boxes_of, of_all, sides_of

from shared_tmu.api import LoadOptions
from shared_tmu.api.keywords import MERGING, names_of
from shared_tmu.demo import build_parser
from shared_tmu.detect import Detection, HandBox
from shared_tmu.detect.base import valid_boxes
from shared_tmu.errors import InputError, MissingAssetError, TMUError

PICTURE = np.zeros((120, 160, 3), np.uint8)
BOX = [[30, 20, 70, 70]]

PICTURES = {
    "float": (PICTURE / 255.0, r"\(255 \* image\)"),
    "16 bits": (PICTURE.astype(np.uint16), "image // 256"),
    "signed": (PICTURE.astype(np.int64), "astype"),
    "bool": (PICTURE.astype(bool), "astype"),
    "four channels": (np.zeros((120, 160, 4), np.uint8), r"image\[:, :, :3\]"),
    "grey": (PICTURE[:, :, 0], "dstack"),
    "one channel": (PICTURE[:, :, :1], "dstack"),
    "channels first": (PICTURE.transpose(2, 0, 1), "transpose"),
    "several": (PICTURE[None], "list"),
    "empty": (PICTURE[:0], "empty"),
    "a number": (np.uint8(3), "type"),
    "none": (None, "NoneType"),
    "masked": (np.ma.masked_array(PICTURE, PICTURE == 0), "filled"),
    "a tensor": (torch.zeros(120, 160, 3, dtype=torch.uint8), "numpy"),
    "bytes": (b"picture", "bytes"),
    "a dictionary": ({"picture": PICTURE}, "dict"),
    "no pictures": ([], "empty"),
    "a list in a list": ([[PICTURE]], "list"),
    "no file": ("nowhere.jpg", "nowhere.jpg"),
    "a folder": (".", "folder"),
    "an address": ("https://example.org/a.jpg", "URL"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_no_picture_is_refused(name, load):
    picture, said = PICTURES[name]
    with pytest.raises(InputError, match=said):
        load().predict(picture, None if isinstance(picture, list) else BOX, None)


BOXES = {
    "no sides": (BOX, None, "sides"),
    "sides only": (None, ["left"], "without boxes"),
    "too few sides": (BOX * 2, ["left"], "1 sides were given for 2"),
    "too many sides": (BOX, ["left"] * 2, "2 sides were given for 1"),
    "one text": (BOX, "left", "list"),
    "one text in an array": (BOX, np.array("left"), "list"),
    "one number": (3, ["left"], "shape"),
    "a word": (BOX, ["both"], "'both'"),
    "a number for a side": (BOX, [0.5], "0.5"),
    "one box": (BOX[0], ["left"], r"\[box\]"),
    "three numbers": ([[1, 2, 3]], ["left"], r"\[1, 3\]"),
    "ragged": ([[1, 2, 3, 4], [1, 2]], ["left"] * 2, "cannot be read"),
    "words": ([["a", "b", "c", "d"]], ["left"], "cannot be read"),
    "outside": ([[300, 20, 340, 70]], ["left"], "box 0: .*outside the image of 160 x 120"),
    "upside down": ([[70, 70, 30, 20]], ["left"], "upside down"),
    "not finite": ([[float("nan"), 20, 70, 70]], ["left"], "box 0"),
    "fractions": ([[0.1, 0.1, 0.5, 0.5]], ["left"], "fractions"),
}


@pytest.mark.parametrize("name", BOXES)
def test_boxes_and_sides_that_do_not_fit_are_refused(name, load):
    boxes, sides, said = BOXES[name]
    with pytest.raises(InputError, match=said):
        load().predict(PICTURE, boxes, sides)


@pytest.mark.parametrize("count", [1, 3])
def test_boxes_of_several_pictures_are_one_entry_for_each(count, load):
    model, boxes, sides = load(), [BOX] * count, [["left"]] * count
    with pytest.raises(InputError, match=f"{count} entries for 2 pictures"):
        model.predict([PICTURE] * 2, boxes, sides)
    results = model.predict(iter([PICTURE] * 2), boxes, sides)
    with pytest.raises(InputError, match="boxes"):
        list(results)


@pytest.mark.parametrize("given", [3, np.array(3), torch.tensor(3), "left", b"left", {0: BOX}, {"left"}])
@pytest.mark.parametrize("what", ["boxes", "sides"])
@pytest.mark.parametrize("several", [list, iter])
def test_boxes_and_sides_of_several_pictures_are_in_an_order(several, what, given, load):
    told = {"boxes": [BOX], "sides": [["left"]], what: given}
    with pytest.raises(InputError, match=f"{what} is of type .* give a list"):
        list(load().predict(several([PICTURE]), **told))


def test_sides_of_a_picture_without_boxes_are_refused_and_none_are_fine(load, monkeypatch):
    monkeypatch.setattr("shared_tmu.api.engine.Engine.detect", lambda *_: (Detection(()), "finder"))
    model = load()
    for pictures in ([PICTURE] * 2, iter([PICTURE] * 2)):
        with pytest.raises(InputError, match="picture 0: sides were given without boxes"):
            list(model.predict(pictures, [None, BOX], [["left"], ["left"]]))
    assert [len(one) for one in model.predict([PICTURE] * 2, [None, BOX], [[], ["left"]])] == [0, 1]


@pytest.mark.parametrize("value", ["no", 1, None, []])
@pytest.mark.parametrize("name", ["bgr", "strict", "hold"])
def test_a_switch_is_true_or_false(name, value, load):
    model = load()
    with pytest.raises(InputError, match=f"{name} is .*True or False"):
        model.predict(PICTURE, BOX, ["left"], **{name: value})
    (hand,) = found = model.predict(PICTURE, BOX, ["left"], bgr=np.bool_(True))
    for one in (hand, found):
        with pytest.raises(InputError, match=r"bgr is .*True or False"):
            one.draw(PICTURE, bgr=value)


def test_results_before_a_bad_picture_come_first(load):
    results = load().predict(iter([PICTURE, PICTURE, PICTURE[0]]), [BOX] * 3, [["left"]] * 3)
    assert [len(next(results)) for _ in range(2)] == [1, 1]
    with pytest.raises(InputError, match="picture 2"):
        next(results)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("failing", ["pictures", "boxes"])
def test_results_before_an_iterator_fails_come_first(failing, strict, load):
    def with_failure(value):
        yield from [value] * 2
        raise ConnectionError("unplugged")

    given = {"pictures": PICTURE, "boxes": BOX, "sides": ["left"]}
    told = [with_failure(value) if name == failing else iter([value] * 3) for name, value in given.items()]
    results = load().predict(*told, strict=strict)
    assert [len(next(results)) for _ in range(2)] == [1, 1]
    with pytest.raises(ConnectionError, match="unplugged"):
        next(results)


def test_without_strict_the_rest_goes_on(load, tmp_path):
    pictures = [PICTURE, "nowhere.jpg", PICTURE]
    boxes = [BOX, BOX, [[300, 20, 340, 70], *BOX]]
    results = load().predict(pictures, boxes, [["left"], ["left"], ["right", "left"]], strict=False)
    assert [len(result) for result in results] == [1, 0, 1]
    assert [len(result.problems) for result in results] == [0, 1, 1]
    with pytest.raises(InputError, match="nowhere"):
        results[1].save(tmp_path / "a.npz")


def test_an_unusable_box_of_the_detector_does_not_stop_the_call(load, monkeypatch):
    boxes = [HandBox((30, 20, 70, 70), True), HandBox((161, 20, 200, 60), True)]

    def detect(_, image_bgr, name):
        return valid_boxes(boxes, image_bgr), "finder"

    monkeypatch.setattr("shared_tmu.api.engine.Engine.detect", detect)
    for result in load().predict([PICTURE] * 2):
        assert len(result) == 1
        assert re.search("outside the image of 160 x 120", *result.problems)


def test_numbers_that_are_not_finite_are_refused(load):
    model = load(r="off")
    model._engine._predictor.model.head.bias.data[48] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        model.predict(PICTURE, BOX, ["left"])
    (result,) = model.predict([PICTURE], [BOX], [["left"]], strict=False)
    assert "not finite" in result.problems[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"methd": "tome"}, "did you mean 'method'"),
        ({"img_folder": "."}, "img_folder"),
        ({"smplx_path": "x"}, "smplx_path"),
        ({"method": "magic"}, "magic"),
        ({"mask": "moon"}, "moon"),
        ({"mask": "previous"}, "previous"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": True}, "batch_size"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"packed": "no"}, "packed is 'no': give True or False"),
        ({"tokens": "yes"}, "tokens is 'yes': give True or False"),
        ({"no_unmerge": 1}, "no_unmerge is 1: give True or False"),
        ({"mask": True}, "mask is of type bool"),
        ({"focal": -1}, "focal"),
        ({"device": "tpu"}, "tpu"),
        ({"dtype": "int8"}, "dtype"),
        ({"r": "4x99"}, "4x99"),
        ({"r": "off", "mask": "box"}, "merging"),
        ({"mask": "none", "background": 3}, "no mask uses it"),
        ({"calib": "freihand"}, "searches nothing"),
        ({"detector": "mediapipe", "body_detector": "regnety"}, "body_detector regnety"),
        ({"detector": "boxes"}, "predict"),
        ({"detector": "eyes"}, "eyes"),
        ({"probe": "nowhere.safetensors"}, "probe"),
        ({"rescale_factor": [2]}, "rescale_factor"),
    ],
)
def test_arguments_of_load_that_cannot_be_used_are_refused(options, said, load, capfd):
    with pytest.raises(TMUError, match=said):
        load(**options)
    assert capfd.readouterr() == ("", "")


def test_a_detector_that_was_named_is_missed_at_once(load, tmp_path):
    with pytest.raises(MissingAssetError):
        load(detector="yolo", detector_dir=tmp_path)


# flags about files, clips and results, which a call gives or does itself
OF_THE_PROGRAM = {
    "help", "img_folder", "video", "camera", "out_folder", "file_type", "boxes", "side_view", "full_frame",
    "save_mesh", "save_params", "overlays", "compare", "hold", "track", "smooth", "detect_every",
    "decoder", "resume", "draw_processes", "report", "engine", "ray_address",
}  # fmt: skip


def test_the_arguments_are_the_flags_of_the_demo(program):
    """One that is added to the demo is added here, or listed above."""
    flags = set(re.findall(r"--(?!no-)(\w+)", build_parser(program).format_usage()))
    assert set(names_of(program)) == flags - OF_THE_PROGRAM
    assert set(MERGING) <= {"r", *LoadOptions.__annotations__}


def test_values_may_be_pythons_own(load):
    model = load(r=[4, 4, 4], dtype=torch.float32, device=torch.device("cpu"), packed=False, no_unmerge=False)
    assert model.setting == "4x3-mask-landmarks+box"
    numbers = {"batch_size": np.int64(2), "focal": np.float32(500), "rescale_factor": np.float64(2)}
    assert "4x3" in load(**numbers, tokens=np.bool_(False), packed=np.False_).setting


@pytest.mark.parametrize(
    ("r", "changes", "said"),
    [
        ("off", {"mask": "box"}, "merging"),
        ("off", {"background": 3}, "no mask uses it"),
        ("auto:0.5mm", {}, "only load searches"),
        (None, {"batch_size": 2}, "batch_size"),
        ("4x3", {"focal": 3.0}, "focal"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(r, changes, said, load):
    with pytest.raises(InputError, match=said), load().at(r, **changes):
        pass


def test_at_leaves_out_what_load_was_given_for_another_setting(load, tmp_path, caplog):
    model = load(background="first", detector_dir=tmp_path)
    caplog.clear()
    for r, changes, setting in (
        ("off", {}, "off"),
        (None, {"mask": "none"}, "4x3"),
        (None, {"method": "dct"}, "dct-4x3"),
        ("2x3", {}, "2x3-mask-landmarks+box-first"),
    ):
        with model.at(r, **changes):
            assert model.setting == setting
    assert not caplog.records


@pytest.mark.parametrize("focal", [0, -3.0, float("inf"), "500", True])
def test_a_focal_length_is_a_number_above_0(focal, load):
    with pytest.raises(InputError, match="focal"):
        load().predict(PICTURE, BOX, ["left"], focal=focal)


def test_the_focal_length_of_a_call_moves_hands_in_depth_only(load):
    model = load()
    (near,) = model.predict(PICTURE, BOX, ["left"], focal=500)
    (far,) = model.predict(PICTURE, BOX, ["left"], focal=1000)
    assert (near.focal_px, far.focal_px) == (500.0, 1000.0)
    assert far.translation_m[2] == pytest.approx(2 * near.translation_m[2])
    assert np.array_equal(near.vertices_m, far.vertices_m)


def test_all_pictures_have_a_name(load, images):
    results = load().predict([images / name for name in NAMES], of_all(boxes_of), of_all(sides_of))
    assert [result.name for result in results] == NAMES
    assert "left" in repr(results[0])
