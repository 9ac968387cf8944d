"""HInt on a tiny set in its layout: lists or pairs, crops of both sides, undefined joints, damage."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from official_sets import write_hint
from PIL import Image

from shared_tmu.datasets import dataset_names, open_dataset
from shared_tmu.errors import InputError, MissingAssetError
from shared_tmu.evaluation.worst import FIRST, Shown, draw_worst
from shared_tmu.masks import MASKS

COUNT = 4


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hint")
    write_hint(root, "newdays", COUNT)
    return root


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pristine, tmp_path / "data")


def oracle(opened):
    """What a model that is always right says, left hands mirrored."""
    samples = [opened.load(i) for i in range(len(opened))]
    kept = {
        name: np.stack([s[name].numpy() for s in samples]) for name in ("box_center", "box_size", "right")
    }
    inside = (opened.keypoints_px - kept["box_center"][:, None]) / kept["box_size"][:, None, None]
    inside[..., 0] *= (2 * kept["right"] - 1)[:, None]
    return {**kept, "pred_keypoints_2d": inside}


def test_crops_are_twice_the_longer_side_and_left_hands_are_mirrored(pristine):
    opened = open_dataset("hint-newdays", pristine)
    assert opened.right.tolist() == [True, False, True, False]
    for index in range(COUNT):
        sample = opened.load(index)
        assert float(sample["box_size"]) == pytest.approx(2 * opened.size[index].max())
        np.testing.assert_allclose(sample["box_center"], opened.center[index], rtol=1e-6)
        assert float(sample["right"]) == opened.right[index]
        assert np.sign(sample["to_picture"][0, 0]) == (1 if opened.right[index] else -1)


def test_who_is_right_has_all_points_of_every_subset(pristine):
    opened = open_dataset("hint-newdays", pristine)
    placed = opened.place(oracle(opened))
    scores = opened.score(placed)
    for subset in ("all", "vis", "occ"):
        assert scores.subsets[subset].kpl2 == pytest.approx(0, abs=1e-12)
        assert scores.headline[f"hand_pck_05_{subset}"] == 1
        known = scores.subsets[subset].pck[0.05].per_joint
        assert set(known[np.isfinite(known)]) == {1.0}
    assert scores.headline["pck_05_vis"] == 1
    flags = opened.labelled
    assert (flags["all"] == (flags["vis"] | flags["occ"])).all()
    assert not (flags["vis"] & flags["occ"]).any()
    assert opened.posture(placed)["scale_error_pct"].max() < 1e-4


def test_a_joint_without_a_label_makes_the_mean_undefined(pristine, tmp_path):
    opened = open_dataset("hint-newdays", pristine)
    opened.labelled["occ"][:, 3] = False
    scores = opened.score(opened.place(oracle(opened)))
    assert np.isnan(scores.headline["pck_05_occ"])
    assert scores.as_dict()["occ"]["pck"]["0.05"]["average"] is None
    assert "occ/kpAvg_pck_0.05: undefined" in scores.scores_txt().splitlines()
    assert "occ/kp3_pck_0.05" not in scores.official()
    json.dumps(scores.as_dict(), allow_nan=False)


def test_predictions_can_be_read_again(pristine, tmp_path):
    opened = open_dataset("hint-newdays", pristine)
    placed = opened.place(oracle(opened))
    placed["keypoints_px"] += 9.0
    again = opened.read_predictions(opened.write_predictions(placed, tmp_path))
    assert opened.score(again).scores_txt() == opened.score(placed).scores_txt()
    with pytest.raises(InputError, match=r"this set needs \(2, 21, 2\)"):
        opened.head(2).read_predictions(tmp_path / "keypoints.npz")
    (tmp_path / "keypoints.npz").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read as predictions"):
        opened.read_predictions(tmp_path / "keypoints.npz")


def test_without_lists_the_pairs_are_read_and_told(root, caplog):
    listed = open_dataset("hint-newdays", root)
    for path in (root / "HInt_annotation").glob("*.npz"):
        path.unlink()
    pairs = open_dataset("hint-newdays", root)
    assert "numbers differ from published ones" in caplog.text
    assert (listed.facts, pairs.facts) == (
        {"annotations": "HaMeR's lists"}, {"annotations": "HInt's files"}
    )  # fmt: skip
    assert pairs.sample_ids == listed.sample_ids
    np.testing.assert_allclose(pairs.size, listed.size)
    np.testing.assert_allclose(pairs.keypoints_px, listed.keypoints_px)
    for subset, flags in pairs.labelled.items():
        assert not (flags & ~listed.labelled[subset]).any()  # those outside the picture are not labelled
    assert pairs.fingerprint != listed.fingerprint


def test_pictures_are_read_as_they_are_stored(root, monkeypatch):
    shutil.copytree(root, root.with_name("stored"))
    before = open_dataset("hint-newdays", root.with_name("stored"))
    path = open_dataset("hint-newdays", root).images[0]
    stored = before.load(0)["img"]
    picture = Image.open(path)
    exif = picture.getexif()
    exif[0x0112] = 6  # turned
    picture.save(path, exif=exif, quality=100)
    after = open_dataset("hint-newdays", root)
    assert float((after.load(0)["img"] - stored).abs().mean()) < 0.1
    asked = []
    monkeypatch.setattr(
        "shared_tmu.datasets.hand_keypoints.find_subject", lambda *_, upright: asked.append(upright)
    )
    after.scene(0, after.load(0), with_detector=True)
    assert asked == [False]
    values = np.zeros(len(before))
    sheets = [
        draw_worst(opened, [0], [Shown("a", None, values, FIRST)]).astype(float) for opened in (before, after)
    ]
    assert np.abs(sheets[0] - sheets[1]).mean() < 8


def test_masks_from_labels(pristine):
    opened = open_dataset("hint-newdays", pristine)
    assert opened.lacking(MASKS["keypoints"]) is None
    assert "key points only" in opened.lacking(MASKS["truth"])
    scene = opened.scene(1, opened.load(1), with_detector=False)
    drawn = MASKS["keypoints"].draw(scene)
    assert 0 < drawn.mean() < 1


def test_names_and_places(root, tmp_path):
    assert dataset_names("NEWDAYS-TEST-VIS, EPICK-TEST-ALL,ego4d_test_occ") == (
        "hint-newdays", "hint-epick", "hint-ego4d"
    )  # fmt: skip
    folder = root / "HInt_annotation"
    for place in (root, folder, folder / "TEST_newdays_img"):
        assert len(open_dataset("hint-newdays", place)) == COUNT
    (folder / "TEST_newdays_img_occ.npz").unlink()
    with pytest.raises(MissingAssetError, match=r"but lacks TEST_newdays_img_occ\.npz"):
        open_dataset("hint-newdays", root)
    with pytest.raises(MissingAssetError, match="under its own licence"):
        open_dataset("hint-ego4d", root)


def change(path: Path, **entries: np.ndarray) -> None:
    with np.load(path) as archive:
        kept = dict(archive)
    np.savez(path, **{**kept, **entries})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "TEST_newdays_img/EK_0001_l.jpg").unlink(), "lacks 1 of 4 pictures"),
        (lambda f: (f / "TEST_newdays_img_vis.npz").write_bytes(b"x"), "cannot be read as a list"),
        (
            lambda f: change(f / "TEST_newdays_img_vis.npz", center=np.ones((4, 2))),
            "lists of different hands",
        ),
        (lambda f: change(f / "TEST_newdays_img_all.npz", scale=np.zeros((4, 2))), "a size above 0"),
        (lambda f: change(f / "TEST_newdays_img_all.npz", center=np.full((4, 2), np.nan)), "finite"),
        (lambda f: change(f / "TEST_newdays_img_all.npz", hand_keypoints_2d=np.ones((4, 20, 3))), "20, 3"),
        (lambda f: change(f / "TEST_newdays_img_all.npz", imgname=np.array(list("aaaa"))), "different hands"),
    ],
)
def test_damage_is_named(root, damage, message):
    damage(root / "HInt_annotation")
    with pytest.raises(InputError, match=message):
        open_dataset("hint-newdays", root)


@pytest.mark.parametrize(
    "entry",
    [
        "{}", "[]", "[{}]", '[{"bbox": [[1, 2, 3]], "keypoints": [], "occlusion": []}]', "[" * 9999,
        json.dumps([{"bbox": [[9, 9, 5, 5]], "keypoints": [[1, 2]] * 21, "occlusion": [0] * 21}]),
    ],
)  # fmt: skip
def test_damaged_pairs_are_named(root, entry):
    folder = root / "HInt_annotation"
    for path in folder.glob("*.npz"):
        path.unlink()
    (folder / "TEST_newdays_img/EK_0002_r.json").write_text(entry)
    with pytest.raises(InputError, match=r"EK_0002_r\.json"):
        open_dataset("hint-newdays", root)


@pytest.mark.parametrize("suffix", ["jpg", "json"])
def test_a_file_without_its_partner_is_named(root, suffix):
    folder = root / "HInt_annotation"
    for path in folder.glob("*.npz"):
        path.unlink()
    (folder / f"TEST_newdays_img/EK_0002_r.{suffix}").unlink()
    left = "json" if suffix == "jpg" else "jpg"
    with pytest.raises(InputError, match=rf"1 have no partner: EK_0002_r\.{left}"):
        open_dataset("hint-newdays", root)
