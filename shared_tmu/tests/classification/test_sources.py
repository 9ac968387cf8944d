"""Labelled pictures: folders, IDX files, digits, class maps, and how pictures become inputs."""

from __future__ import annotations

import gzip
import os
import sys

import numpy as np
import pytest
import torch
from pictures_folder import make_folder, make_idx
from PIL import Image

from shared_tmu.classification.class_names import number_classes, read_class_map
from shared_tmu.classification.crops import Crop
from shared_tmu.classification.labelled import UNREAD
from shared_tmu.classification.sources import find_source
from shared_tmu.errors import ConfigError, InputError, MissingAssetError


def test_a_folder_is_read_in_turns_of_its_classes(tmp_path):
    root = make_folder(tmp_path / "pets", count=2)
    source = find_source(str(root), "test")
    assert source.name == "pets"
    assert source.classes == ("cat", "dog", "eel")
    assert source.sample_ids == ("cat/0.png", "dog/0.png", "eel/0.png", "cat/1.png", "dog/1.png", "eel/1.png")
    data = source.labelled(Crop((32, 32)), 3)
    assert data.head(3).labels == (0, 1, 2)
    assert data.load(1)["label"] == 1
    assert find_source(str(root / "val"), "test").name == "pets"
    with pytest.raises(InputError, match="no subfolder train"):
        find_source(str(root), "train")


def test_numbers_of_classes_follow_the_class_map(tmp_path):
    data = find_source(str(make_folder(tmp_path, count=1)), "test")
    assert data.labelled(Crop((8, 8)), 9, {"cat": 8, "dog": 2, "eel": 2, "fox": 1}).labels == (8, 2, 2)
    assert data.labelled(Crop((8, 8)), 3, ("eel", "dog", "cat")).labels == (2, 1, 0)
    with pytest.raises(InputError, match="1000 classes, but there are 3 folders"):
        data.labelled(Crop((8, 8)), 1000)
    with pytest.raises(InputError, match="dog, eel"):
        data.labelled(Crop((8, 8)), 9, {"cat": 0})
    with pytest.raises(InputError, match="class 8, but the model has 5"):
        data.labelled(Crop((8, 8)), 5, {"cat": 8, "dog": 2, "eel": 2})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("numbers.txt", "# of ours\ncat 0\neel 2\ndog 1\n"),
        ("words.txt", "cat tabby, tabby cat\ndog\neel electric eel\n"),
        ("own.json", '{"cat": 0, "dog": 1, "eel": 2}'),
        ("index.json", '{"0": ["cat", "tabby"], "1": ["dog", "hound"], "2": ["eel", "electric_eel"]}'),
        ("list.json", '["cat", "dog", "eel"]'),
        ("notepad.txt", "\ufeffcat 0\r\ndog 1\r\neel 2\r\n"),
        ("notepad.json", '\ufeff["cat", "dog", "eel"]'),
        ("comment.txt", "cat\n  # not a class\n\ndog\neel\n"),
    ],
)
def test_class_maps(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_class_map(tmp_path / name) == {"cat": 0, "dog": 1, "eel": 2}


def test_names_in_class_maps_may_have_blanks(tmp_path):
    (tmp_path / "map").write_text("sea lion 2\npolar  bear\t0\ncat 1\n")
    assert read_class_map(tmp_path / "map") == {"sea lion": 2, "polar  bear": 0, "cat": 1}


@pytest.mark.parametrize("text", ["cat 8\ndog 2 # often\n", "cat\ndog 0\n", "cat 1\ndog two\n"])
def test_lines_of_which_only_some_have_numbers_are_refused(tmp_path, text):
    """Their order would have been taken for the numbers."""
    (tmp_path / "map").write_text(text)
    with pytest.raises(InputError, match="lines with a number"):
        read_class_map(tmp_path / "map")


@pytest.mark.parametrize(
    "text",
    [
        "", "cat 0\ncat 1\n", "{broken", '{"cat": -1}', '{"cat": {}}', '{"cat": true}',
        '{"cat": 0, "cat": 1}', "{}", "[]", "[1, 2]", '[["cat"]]', '{"0": []}', '{"0": [7]}',
        '{"zero": "cat"}',
    ],
)  # fmt: skip
def test_class_maps_that_say_nothing_are_refused(tmp_path, text):
    (tmp_path / "map").write_text(text)
    with pytest.raises(InputError, match="expected"):
        read_class_map(tmp_path / "map")


def test_a_picture_that_cannot_be_read_has_no_label(tmp_path, caplog):
    root = make_folder(tmp_path, count=1)
    (root / "val" / "dog" / "0.png").write_bytes(b"no picture")
    data = find_source(str(root), "test").labelled(Crop((32, 32)), 3)
    assert data.load(1)["label"] == UNREAD
    assert "dog/0.png" in caplog.text


def test_files_that_are_not_there_are_told(tmp_path):
    root = make_folder(tmp_path, count=1)
    (root / "val" / "cat" / "link.png").symlink_to(tmp_path / "nowhere.png")
    source = find_source(str(root), "test")
    assert source.problems == ("cat/link.png cannot be read",)
    assert len(source.labels) == 3
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    with pytest.raises(InputError, match="no pictures"):
        find_source(str(tmp_path / "empty"), "test")
    with pytest.raises(MissingAssetError, match="one subfolder of pictures per class"):
        find_source(str(tmp_path / "absent"), "test")


@pytest.mark.parametrize("name", ["valid", "Val", "TEST", "dev"])
def test_splits_have_many_names(tmp_path, name):
    root = make_folder(tmp_path / "pets", count=2, split=name)
    make_folder(root, count=1, split="Train")
    judged, learned = find_source(str(root), "test"), find_source(str(root), "train")
    assert (len(judged.labels), len(learned.labels)) == (6, 3)
    assert judged.classes == ("cat", "dog", "eel")
    assert find_source(str(root / name), "test").name == "pets"


def test_a_split_is_not_taken_for_a_class(tmp_path):
    """`train` and `holdout` would have been two classes."""
    root = make_folder(tmp_path / "pets", count=1, split="train")
    make_folder(root, count=1, split="holdout")
    with pytest.raises(InputError, match=r"no pictures to be judged by: expected one of val, valid"):
        find_source(str(root), "test")
    vehicles = make_folder(tmp_path, ("bus", "train"), count=1, split="vehicles") / "vehicles"
    assert find_source(str(vehicles), "test").classes == ("bus", "train")


def test_pictures_in_linked_folders_and_with_rarer_suffixes_are_found(tmp_path):
    root = make_folder(tmp_path / "pets", count=1)
    elsewhere = make_folder(tmp_path / "more", ("fox",), count=2) / "val" / "fox"
    (root / "val" / "fox").symlink_to(elsewhere)
    (root / "val" / "cat" / "linked").symlink_to(elsewhere)
    (root / "val" / "cat" / "round").symlink_to(root / "val")
    (root / "val" / "dog" / "0.png").rename(root / "val" / "dog" / "0.JFIF")
    source = find_source(str(root), "test")
    assert source.classes == ("cat", "dog", "eel", "fox")
    assert {"cat/linked/1.png", "dog/0.JFIF", "fox/0.png"} <= set(source.sample_ids)
    assert source.labels[source.sample_ids.index("fox/1.png")] == 3


def test_classes_without_pictures_keep_their_number_and_are_told(tmp_path, caplog):
    root = make_folder(tmp_path / "pets", count=1)
    (root / "val" / "ant").mkdir()
    (root / "val" / "dog" / "0.png").rename(root / "val" / "dog" / "notes.txt")
    source = find_source(str(root), "test")
    assert source.classes == ("ant", "cat", "dog", "eel")
    assert source.labels == (1, 3)
    assert "2 of 4 classes have no pictures: ant, dog" in caplog.text


def test_names_that_are_no_text_and_odd_ones(tmp_path):
    root = make_folder(tmp_path / "pets", ("-r", "sea lion", "\u732b"), count=1)
    picture = root / "val" / "sea lion" / "0.png"
    picture.rename(picture.with_name(os.fsdecode(b"\xff\n,.png")))
    source = find_source(str(root), "test")
    assert source.classes == ("-r", "sea lion", "\u732b")
    assert source.sample_ids[1] == "sea lion/\\xff\n,.png"
    "".join(source.sample_ids).encode()
    data = source.labelled(Crop((8, 8)), 3)
    assert data.load(1)["label"] == 1


@pytest.mark.parametrize("shape", [(1, 40000), (40000, 1)])
def test_a_picture_of_one_line_does_not_fill_the_memory(tmp_path, caplog, shape):
    root = make_folder(tmp_path / "pets", count=1)
    Image.fromarray(np.zeros((*shape, 3), np.uint8)).save(root / "val" / "dog" / "0.png")
    data = find_source(str(root), "test").labelled(Crop((224, 224)), 3)
    assert data.load(1)["label"] == UNREAD
    assert "too long and narrow" in caplog.text
    assert data.load(0)["label"] == 0


def test_idx_files(tmp_path):
    folder = make_idx(tmp_path / "mnist")
    for split, prefix in (("train", "train"), ("test", "t10k")):
        source = find_source(str(folder), split)
        assert source.labels[:4] == (0, 1, 2, 0)
        assert source.sample_ids[0] == f"{prefix}-00000"
        assert source.pictures.read(1).shape == (28, 28, 3)
    packed = folder / "train-images-idx3-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(InputError, match="damaged"):
        find_source(str(folder), "train")
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"\x00\x00\x08\x01" + (3).to_bytes(4, "big") + b"abc")
    with pytest.raises(InputError, match="12 pictures of t10k, but 3 labels"):
        find_source(str(folder), "test")


def test_fashion_mnist_is_known_in_any_folder(tmp_path):
    folder = make_idx(tmp_path / "anywhere", count=10)
    assert find_source(str(folder), "test").name == "anywhere"
    labels = bytes((9, 2, 1, 1, 6, 1, 4, 6, 5, 7))
    head = b"\x00\x00\x08\x01" + len(labels).to_bytes(4, "big")
    (folder / "t10k-labels-idx1-ubyte").write_bytes(head + labels)
    source = find_source(str(folder), "test")
    assert source.name == "fashion-mnist"
    assert source.classes[9] == "ankle boot"


def test_digits(tmp_path, monkeypatch):
    package = tmp_path / "sklearn"
    (package / "datasets" / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('only its file is read')")
    rows = [[*([k] * 64), k] for k in range(10)]
    text = "\n".join(",".join(map(str, row)) for row in rows)
    (package / "datasets" / "data" / "digits.csv.gz").write_bytes(gzip.compress(text.encode()))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    test, train = find_source("digits", "test"), find_source("digits", "train")
    assert test.labels == (0, 5)
    assert train.labels == (1, 2, 3, 4, 6, 7, 8, 9)
    assert int(test.pictures.read(1).max()) == round(5 * 255 / 16)


@pytest.mark.parametrize("size", [(32, 32), (48, 40)])
@pytest.mark.parametrize("shape", [(40, 60), (61, 37), (20, 20)])
@pytest.mark.parametrize(("share", "mode"), [(1.0, "center"), (0.875, "center"), (1.0, "squash")])
def test_crops_are_those_of_timm(timm, size, shape, share, mode):
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    crop = Crop(size, interpolation="bicubic", share=share, mode=mode)
    theirs = timm.data.create_transform(
        (3, *size), mean=crop.mean, std=crop.std, interpolation="bicubic", crop_pct=share, crop_mode=mode
    )
    expected = theirs(Image.fromarray(rgb))
    assert crop.cut(rgb).shape == expected.shape == (3, *size)
    if size[0] == size[1]:
        torch.testing.assert_close(crop.cut(rgb), expected, rtol=0, atol=1e-6)


def test_other_ways_to_crop_are_refused():
    with pytest.raises(ConfigError, match="'border'"):
        Crop((8, 8), mode="border")
    with pytest.raises(ConfigError, match="'random'"):
        Crop((8, 8), interpolation="random")


def test_classes_in_order_of_the_folders():
    assert number_classes(["b", "a"], None, 2) == {"a": 0, "b": 1}
