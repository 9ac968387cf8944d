"""`predict` gives what the demo saves, in every form of a picture, and hands of both sides are true ones."""

import asyncio
import threading
from dataclasses import fields

import cv2
import numpy as np
import pytest
from api.asked import NAMES, boxes_of, of_all, same, sides_of
from PIL import Image
from toy_demo import BOXES, run, write_boxes, write_pictures

from shared_tmu.api import Hand, Person
from shared_tmu.demo.subjects import HANDS, PEOPLE
from shared_tmu.detect import Detection, HandBox
from shared_tmu.errors import TMUError
from shared_tmu.pictures.panels import encode


def rgb(path):
    return cv2.imread(str(path))[:, :, ::-1]


def test_all_pictures_at_once_give_the_files_of_the_demo(load, program, images, tmp_path):
    boxes = {name: [{**box, "score": 1.0} for box in BOXES[name]] for name in NAMES}
    out = tmp_path / "out"
    assert run(program, images, out, "--focal", "900", boxes=write_boxes(tmp_path / "boxes.json", boxes)) == 0
    found = load(focal=900.0).predict([images / n for n in NAMES], of_all(boxes_of), of_all(sides_of))
    for name, result in zip(NAMES, found, strict=True):
        stem = name.partition(".")[0]
        for suffix in ("npz", "json"):
            saved = result.save(tmp_path / "own" / f"{stem}.{suffix}")
            assert saved.read_bytes() == (out / f"{stem}.{suffix}").read_bytes()
        drawn = result.draw(images / name, bgr=True)
        if result:
            assert encode(drawn, ".jpg") == (out / f"{stem}_all.jpg").read_bytes()


def test_many_pictures_give_the_files_of_the_demo(load, program, tmp_path):
    """More than the demo's portions, with pictures without hands among them."""
    names = [f"{index:02}.png" for index in range(17)]
    folder = write_pictures(tmp_path / "many", dict.fromkeys(names, (120, 100)))
    boxes = {name: (BOXES["a.jpg"] * 2)[: index % 4] for index, name in enumerate(names)}
    out = tmp_path / "out"
    flags = ("--no-overlays", "--batch_size", "2")
    assert run(program, folder, out, *flags, boxes=write_boxes(tmp_path / "boxes.json", boxes)) == 0
    xyxy = [[box["box_xyxy"] for box in boxes[name]] for name in names]
    sides = [[box["is_right"] for box in boxes[name]] for name in names]
    found = load(batch_size=2).predict([folder / name for name in names], xyxy, sides)
    for name, result in zip(names, found, strict=True):
        with np.load(out / name.replace("png", "npz")) as saved:
            assert all(np.array_equal(saved[key], values) for key, values in result.to_dict().items()), name


@pytest.mark.parametrize("mask", ["box", "none"])
def test_one_picture_gives_the_files_of_the_demo(mask, load, program, images, tmp_path):
    path = images / "d.jpg"
    out = tmp_path / "out"
    assert run(program, path, out, "--mask", mask, boxes=write_boxes(tmp_path / "boxes.json")) == 0
    found = load(mask=mask).predict(path, boxes_of("d.jpg"), sides_of("d.jpg"))
    with np.load(out / "d.npz") as saved:
        assert list(saved) == list(found.to_dict())
        assert all(np.array_equal(saved[name], values) for name, values in found.to_dict().items())
    assert found.masks == (mask,) * 4


def test_every_form_of_a_picture_gives_the_same(load, images):
    model, path = load(), images / "a.jpg"
    given = boxes_of("a.jpg"), sides_of("a.jpg")
    of_file = model.predict(path, *given)
    array = rgb(path)
    before = array.copy()
    others = [
        model.predict(str(path), *given),
        model.predict(array, np.array(given[0], np.float32), np.array([True, False])),
        model.predict(np.ascontiguousarray(array[:, :, ::-1]), *given, bgr=True),
        model.predict(Image.open(path), tuple(map(tuple, given[0])), (True, False)),
        *model.predict([array], [given[0]], [given[1]]),
        *model.predict(iter([path]), iter([given[0]]), iter([given[1]])),
    ]
    assert all(same(of_file, other) for other in others)
    assert np.array_equal(array, before)


def test_a_turned_photograph_is_upright_as_a_file_and_as_an_image(load, images, tmp_path):
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(images / "a.jpg").save(turned, exif=exif)
    model, box = load(), [[10, 20, 60, 70]]
    of_file = model.predict(turned, box, ["left"])
    assert of_file[0].image_size_px.tolist() == [120, 160]
    image = Image.open(turned)
    assert same(of_file, model.predict(image, box, ["left"]))
    assert same(of_file, model.predict(image.convert("RGB"), box, ["left"]))


def test_the_values_of_a_hand_are_those_of_its_row(load, images):
    found = load().predict(images / "a.jpg", boxes_of("a.jpg"), sides_of("a.jpg"))
    arrays = found.to_dict()
    for kind, subject in ((Hand, HANDS), (Person, PEOPLE)):
        names = {one.name for one in fields(kind) if not one.name.startswith("_")}
        assert names == {one.name for one in subject.table.fields}
    for index, hand in enumerate(found):
        for name, value in hand.to_dict().items():
            row = arrays[name] if name in HANDS.table.per_image else arrays[name][index]
            assert np.array_equal(value, row), name
    assert [type(found[0].is_right), type(found[0].score), type(found[0].focal_px)] == [bool, float, float]
    assert [hand.is_right for hand in found] == [True, False]


def test_a_mirrored_picture_gives_the_mirrored_hand(load, images):
    model, picture = load(r="off"), rgb(images / "a.jpg")
    width = picture.shape[1]
    x1, y1, x2, y2 = 30, 20, 70, 70
    (right,) = model.predict(picture, [[x1, y1, x2, y2]], ["right"])
    (left,) = model.predict(picture[:, ::-1], [[width - 1 - x2, y1, width - 1 - x1, y2]], ["left"])
    mirror = np.array([-1.0, 1.0, 1.0])
    assert np.allclose(left.vertices_m, right.vertices_m * mirror, atol=1e-5)
    assert np.allclose(left.joints_3d_m, right.joints_3d_m * mirror, atol=1e-5)
    assert np.allclose(left.hand_pose_axis_angle, right.hand_pose_axis_angle * [1, -1, -1], atol=1e-3)
    assert np.allclose(left.betas, right.betas, atol=1e-3)
    assert np.allclose(left.joints_2d_px[:, 1], right.joints_2d_px[:, 1], atol=0.05)
    assert np.allclose(left.joints_2d_px[:, 0], width - right.joints_2d_px[:, 0], atol=1.05)
    assert volume_of(left) == pytest.approx(volume_of(right), rel=1e-3)
    assert volume_of(left) > 0  # faces are outward


def volume_of(hand):
    """Of a mesh that is open at the wrist: as seen from its middle."""
    mesh = hand.mesh()
    return mesh.apply_translation(-hand.vertices_camera_m.mean(axis=0)).volume


def test_frames_of_an_iterator_are_read_only_as_needed(load, images):
    taken = []

    def frames():
        for index in range(40):
            taken.append(index)
            yield rgb(images / "a.jpg")

    results = load().predict(frames(), boxes_of_frames(), sides_of_frames())
    assert taken == []  # not before the first result is asked for
    first = next(results)
    assert len(taken) == 2  # 2 hands each, batches of 3: the second frame completes a batch
    assert [len(first), *(len(result) for result in results)] == [2] * 40


def boxes_of_frames():
    while True:
        yield boxes_of("a.jpg")


def sides_of_frames():
    while True:
        yield sides_of("a.jpg")


def test_frames_come_in_order_whether_they_show_hands_or_not(load, images):
    counts = [0, 2, 0, 0, 1, 4, 0, 3]
    boxes = [boxes_of("d.jpg")[:count] for count in counts]
    sides = [sides_of("d.jpg")[:count] for count in counts]
    results = list(load().predict((rgb(images / "d.jpg") for _ in counts), boxes, sides))
    assert [len(result) for result in results] == counts
    assert [result.name for result in results] == [f"picture {index}" for index in range(len(counts))]


def test_the_detector_finds_hands_where_no_boxes_are_given(load, images, monkeypatch):
    class Finder:
        name = "found"

        def detect(self, image_bgr, image_name):
            return Detection((HandBox((30.0, 20.0, 70.0, 70.0), True, 0.25),))

    monkeypatch.setattr(HANDS.__class__, "make_detector", lambda *given: Finder())
    model = load()
    paths = [images / "a.jpg", images / "d.jpg"]
    first, second = model.predict(paths, [None, boxes_of("d.jpg")], [None, sides_of("d.jpg")])
    assert [hand.score for hand in (*first, *second)] == [0.25, 1, 1, 1, 1]
    assert same(model.predict(paths[0]), first)


def test_another_setting_holds_inside_its_block_only(load, images):
    model, given = load(), (images / "d.jpg", boxes_of("d.jpg"), sides_of("d.jpg"))
    merged, off = model.predict(*given), load(r="off").predict(*given)
    random = load(method="random", r="10x3").predict(*given)
    assert not same(merged, off)
    with model.at("off") as plain:
        assert plain is model
        assert model.setting == "off"
        assert same(model.predict(*given), off)
        with model.at("10x3", method="random"):
            assert same(model.predict(*given), random)
        assert same(model.predict(*given), off)
        later = model.predict(iter([given[0]]), [given[1]], [given[2]])
    assert same(next(later), off)  # asked for inside
    assert same(model.predict(*given), merged)
    with pytest.raises(TMUError), model.at("9x9"):
        pass
    with pytest.raises(KeyError), model.at("off"):
        raise KeyError
    assert same(model.predict(*given), merged)


def test_a_block_that_another_thread_ends_has_ended(load):
    model = load()

    def settings():
        with model.at("off"):
            while True:
                yield model.setting

    held = settings()
    assert next(held) == "off"
    thread = threading.Thread(target=held.close)
    thread.start()
    thread.join()
    assert model.setting == "4x3-mask-landmarks+box"
    with model.at("2x2", mask="none"):
        assert model.setting == "2x2"
    assert model.setting == "4x3-mask-landmarks+box"


def test_tasks_have_the_setting_in_which_they_were_made(load):
    model = load()

    async def setting():
        await asyncio.sleep(0)
        return model.setting

    async def tasks():
        with model.at("off"):
            inside = asyncio.create_task(setting())
        return await inside, await setting()

    assert asyncio.run(tasks()) == ("off", "4x3-mask-landmarks+box")


def test_threads_with_different_settings_do_not_mix(load, images):
    model, given = load(), (images / "d.jpg", boxes_of("d.jpg"), sides_of("d.jpg"))
    settings = ["off", "4x3", "8x3", "2x2"]
    wanted = {r: load(r=r).predict(*given) for r in settings}
    wrong, start = [], threading.Barrier(len(settings))

    def work(r):
        start.wait()
        for _ in range(5):
            with model.at(r):
                wrong.extend([] if same(model.predict(*given), wanted[r]) else [r])

    threads = [threading.Thread(target=work, args=(r,)) for r in settings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert model.setting == "4x3-mask-landmarks+box"


def test_nothing_is_printed(load, images, capfd):
    model = load()
    with model.at("off"):
        model.predict(images / "a.jpg", boxes_of("a.jpg"), sides_of("a.jpg"))
    assert capfd.readouterr() == ("", "")
