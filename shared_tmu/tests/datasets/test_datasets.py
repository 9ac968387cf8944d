"""Opening evaluation sets: names, places, crops, placement, and every way in which a folder can be wrong."""

import json
import shutil

import numpy as np
import pytest
from freihand_folder import write_freihand

from shared_tmu.datasets import dataset_names, open_dataset, picture_signature, set_sha256
from shared_tmu.datasets.freihand import open_freihand
from shared_tmu.errors import InputError, MissingAssetError
from shared_tmu.programs.estimates import BODY, HAND

FILES = ("evaluation_K.json", "evaluation_xyz.json", "evaluation_verts.json")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return write_freihand(tmp_path_factory.mktemp("freihand") / "freihand", count=3)


@pytest.fixture
def root(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "freihand")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("freihand", ("freihand",)),
        ("FreiHAND", ("freihand",)),
        ("FREIHAND-VAL", ("freihand",)),
        ("freihand_val", ("freihand",)),
        (" SynthHand , FREIHAND-VAL,freihand,", ("synthhand", "freihand")),
    ],
)
def test_names_are_free_of_case_and_punctuation(text, names):
    assert dataset_names(text) == names


@pytest.mark.parametrize("text", ["freihands", "synthhand,ho3d-v9", "", " , "])
def test_unknown_names_say_what_is_known(text):
    with pytest.raises(InputError, match="freihand") as caught:
        dataset_names(text)
    assert "synthhand" in str(caught.value)


@pytest.mark.parametrize(
    "place", ["", "freihand", "FreiHAND_pub_v2_eval", "FREIHAND/evaluation", "freihand/evaluation/rgb"]
)
def test_the_places_where_it_is_found(pristine, tmp_path, place):
    holder = tmp_path / "data" / place.split("/")[0]
    shutil.copytree(pristine, holder)
    data_dir = tmp_path / "data" / place if "/" in place else tmp_path / "data"
    opened = open_dataset("freihand", data_dir)
    assert len(opened) == 3
    assert opened.images[2] == holder / "evaluation" / "rgb" / "00000002.jpg"
    assert not opened.is_complete


def test_a_short_set_is_said_to_be_short(root, caplog):
    open_freihand(root)
    assert "3 samples, but FreiHAND's evaluation split has 3960" in caplog.text


def test_nothing_there(tmp_path):
    with pytest.raises(MissingAssetError) as caught:
        open_freihand(tmp_path / "nowhere")
    message = str(caught.value)
    for part in (*FILES, "evaluation/rgb/00000000.jpg", "nowhere/freihand", "lmb.informatik", "--data_dir"):
        assert part in message, part


@pytest.mark.parametrize("file", FILES)
def test_one_file_missing(root, file):
    (root / file).unlink()
    with pytest.raises(MissingAssetError) as caught:
        open_freihand(root.parent)
    assert file in str(caught.value)
    assert "evaluation/rgb/00000000.jpg and so on" not in str(caught.value)


def test_pictures_missing_or_too_many(root):
    rgb = root / "evaluation" / "rgb"
    shutil.copy(rgb / "00000000.jpg", rgb / "00000003.jpg")
    with pytest.raises(InputError, match=r"4 pictures, but the annotations have 3 .* 00000003\.jpg"):
        open_freihand(root)
    (rgb / "00000001.jpg").unlink()
    with pytest.raises(InputError, match=r"lacks 1 of 3 pictures: 00000001\.jpg"):
        open_freihand(root)
    shutil.rmtree(rgb)
    with pytest.raises(MissingAssetError, match="00000000"):
        open_freihand(root)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("evaluation_xyz.json", lambda text: text[: len(text) // 2], "cannot read .*evaluation_xyz.json"),
        ("evaluation_xyz.json", lambda text: "", "cannot read .*evaluation_xyz.json"),
        ("evaluation_verts.json", lambda text: "{}", "cannot read .*evaluation_verts.json"),
        ("evaluation_K.json", lambda text: '[[["a"]]]', "cannot read .*evaluation_K.json"),
        ("evaluation_K.json", lambda text: "[]", r"expected \(samples, 3, 3\)"),
        ("evaluation_xyz.json", lambda text: json.dumps(np.zeros((3, 20, 3)).tolist()), r"\(3, 20, 3\)"),
        ("evaluation_xyz.json", lambda text: json.dumps([[[0]], [[0], [1]]]), "cannot read"),
        ("evaluation_K.json", lambda text: json.dumps(json.loads(text)[:2]), "belong to different sets"),
        ("evaluation_xyz.json", lambda text: "null", r"shape \(\)"),
        ("evaluation_K.json", lambda text: text.replace("480.0", "NaN", 1), "not finite, first in sample 0"),
    ],
)
def test_damaged_annotations(root, file, damage, message):
    path = root / file
    path.write_text(damage(path.read_text()))
    with pytest.raises(InputError, match=message):
        open_freihand(root)


def test_not_even_text(root):
    (root / "evaluation_xyz.json").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="cannot read"):
        open_freihand(root)


def test_the_crop_is_the_whole_picture_with_black_above_and_below(root):
    sample = open_freihand(root).load(0)
    img = sample["img"].numpy()
    assert img.shape == (3, 256, 256)
    assert img.dtype == np.float32
    black = -np.array([0.485, 0.456, 0.406]) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(img[:, :31], np.broadcast_to(black[:, None, None], (3, 31, 256)), atol=1e-5)
    np.testing.assert_allclose(img[:, 226:], np.broadcast_to(black[:, None, None], (3, 30, 256)), atol=1e-5)
    assert (np.abs(img[:, 34:220, 34:220] - black[:, None, None]).max(axis=0) > 1e-3).mean() > 0.95
    assert sample["box_size"].item() == pytest.approx(224 * 4 / 3)
    assert sample["box_center"].tolist() == [112, 112]


@pytest.mark.parametrize("name", ["synthhand", "synthhand-varied"])
def test_synthhand_is_made_once_in_the_cache(tmp_path, monkeypatch, name):
    monkeypatch.setattr("shared_tmu.datasets.synthhand.OFFICIAL_COUNT", 2)
    monkeypatch.setenv("SHARED_TMU_CACHE", str(tmp_path / "cache"))
    opened = open_dataset(name, tmp_path / "nowhere")
    assert len(opened) == 2
    assert opened.is_complete
    picture = opened.images[0]
    assert picture.is_relative_to(tmp_path / "cache")
    made = picture.stat().st_mtime_ns
    again = open_dataset(name, tmp_path / "nowhere")
    assert (again.images[0].stat().st_mtime_ns, again.fingerprint) == (made, opened.fingerprint)
    assert opened.load(0)["img"].shape == (3, 256, 256)
    picture.unlink()
    with pytest.raises(InputError, match=r"00000000\.jpg.*is generated: delete"):
        open_dataset(name, tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["synthhand", "synthhand-varied"])
def test_synthhand_truth_is_where_the_pictures_show_it(tmp_path, monkeypatch, name):
    monkeypatch.setattr("shared_tmu.datasets.synthhand.OFFICIAL_COUNT", 2)
    monkeypatch.setenv("SHARED_TMU_CACHE", str(tmp_path))
    opened = open_dataset(name, tmp_path)
    projected = opened.verts_m @ opened.intrinsics.transpose(0, 2, 1)
    pixels = projected[..., :2] / projected[..., 2:]
    assert (pixels.mean(axis=1) > 40).all()
    assert (pixels.mean(axis=1) < 184).all()
    np.testing.assert_array_equal(
        opened.xyz_m[:, [4, 8, 12, 16, 20]], opened.verts_m[:, [744, 320, 443, 554, 671]]
    )


@pytest.mark.parametrize("subject", ["hand", "body"])
def test_sets_for_decisions_share_no_sample_with_those_for_evaluation(tmp_path, monkeypatch, subject):
    monkeypatch.setenv("SHARED_TMU_CACHE", str(tmp_path))
    for name in ("OFFICIAL_COUNT", "CALIB_COUNT"):
        monkeypatch.setattr(f"shared_tmu.datasets.synth{subject}.{name}", 2)
    kind = {"hand": HAND, "body": BODY}[subject]
    pair = [open_dataset(name, tmp_path) for name in (kind.dataset, kind.calibration)]
    assert [data.name for data in pair] == [f"synth{subject}", f"synth{subject}-calib"]
    assert [len(data) for data in pair] == [2, 2]
    pictures = {path.read_bytes() for data in pair for path in data.images}
    assert len(pictures) == 4


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SHARED_TMU_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="name another folder with SHARED_TMU_CACHE"):
        open_dataset("synthhand", tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_a_bad_picture_is_an_error_not_a_hole(root, content):
    path = root / "evaluation" / "rgb" / "00000001.jpg"
    path.write_bytes(path.read_bytes()[:1500] if content is None else content)
    opened = open_freihand(root)
    opened.load(0)
    with pytest.raises(InputError, match="00000001"):
        opened.load(1)


def outputs_of(opened, rng):
    count = len(opened)
    return {
        "pred_vertices": rng.normal(size=(count, 778, 3), scale=0.05).astype(np.float32),
        "pred_keypoints_3d": rng.normal(size=(count, 21, 3), scale=0.05).astype(np.float32),
        "pred_cam": np.array([[0.9, 0.02, -0.03]] * count, dtype=np.float32),
        "box_center": np.full((count, 2), 112, dtype=np.float32),
        "box_size": np.full(count, 224 * 4 / 3, dtype=np.float32),
    }


def test_joints_and_vertices_are_placed_by_one_translation_that_reprojects(root):
    opened = open_freihand(root)
    outputs = outputs_of(opened, np.random.default_rng(1))
    placed = opened.place(outputs)
    xyz, verts = placed["xyz_m"], placed["verts_m"]
    shift = xyz - outputs["pred_keypoints_3d"]
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1], shift.shape), atol=1e-8)
    np.testing.assert_allclose(verts - outputs["pred_vertices"], shift[:, :1].repeat(778, 1), atol=1e-8)
    # A point at the hand's origin: where the crop camera sees it is where the true camera must see it.
    s, tx, ty = outputs["pred_cam"][0]
    crop_px = 112 + 224 * 4 / 3 * s / 2 * np.array([tx, ty])
    x, y, z = shift[0, 0]
    np.testing.assert_allclose([480 * x / z + 112, 480 * y / z + 112], crop_px, atol=1e-3)


def test_tips_of_the_dataset_come_from_its_vertices(root):
    from dataclasses import replace

    opened = open_freihand(root)
    outputs = outputs_of(opened, np.random.default_rng(2))
    placed = opened.place(outputs)
    own, verts = placed["xyz_m"], placed["verts_m"]
    theirs = replace(opened, tips="freihand").place(outputs)["xyz_m"]
    np.testing.assert_array_equal(theirs[:, [4, 8, 12, 16, 20]], verts[:, [744, 320, 443, 555, 672]])
    rest = [i for i in range(21) if i not in (4, 8, 12, 16, 20)]
    np.testing.assert_array_equal(theirs[:, rest], own[:, rest])


def test_the_prediction_file_scores_as_the_predictions_do(root, tmp_path):
    from shared_tmu.metrics import score_freihand

    opened = open_freihand(root)
    outputs = outputs_of(opened, np.random.default_rng(3))
    path = tmp_path / "new" / "pred.json"
    placed = opened.place(outputs)
    opened.write_predictions(placed, path.parent)
    xyz, verts = (np.array(part) for part in json.loads(path.read_text()))
    assert xyz.shape == (3, 21, 3)
    assert verts.shape == (3, 778, 3)
    from_file = score_freihand(xyz, verts, opened.xyz_m, opened.verts_m)
    assert from_file.scores_txt() == opened.score(placed).scores_txt()
    assert [p.name for p in path.parent.iterdir()] == ["pred.json"]


def test_the_fingerprint_changes_with_what_is_inside(root):
    before = open_freihand(root).fingerprint
    assert open_freihand(root).fingerprint == before
    path = root / "evaluation_xyz.json"
    path.write_text(path.read_text().replace("0.0", "0.1", 1) + " ")
    assert open_freihand(root).fingerprint != before


def test_the_signature_changes_with_the_pictures_of_its_range_only(root):
    images = open_freihand(root).images
    before = picture_signature(images[:2]), picture_signature(images[2:])
    with images[2].open("ab") as file:
        file.write(b"more")
    assert picture_signature(images[:2]) == before[0]
    assert picture_signature(images[2:]) != before[1]


def test_the_digest_of_a_set_covers_the_content_of_its_pictures(root):
    opened = open_freihand(root)
    before, content = set_sha256(opened), opened.images[1].read_bytes()
    opened.images[1].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # as long as before
    assert set_sha256(opened) != before
    opened.images[1].write_bytes(content)
    assert set_sha256(opened) == before
    opened.images[1].unlink()
    with pytest.raises(InputError, match=opened.images[1].name):
        set_sha256(opened)


def test_head(root):
    opened = open_freihand(root).head(2)
    assert len(opened) == len(opened.xyz_m) == len(opened.verts_m) == len(opened.intrinsics) == 2
    assert len(opened.head(99)) == 2
