"""HO3D on a tiny set in its layout: order, frame, crops, placing, submissions, and every way to be wrong."""

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from official_sets import OPENGL, SEQUENCES, pixels, write_ho3d
from official_sets import drawn as drawn_hand

from shared_tmu.datasets import dataset_names, open_dataset
from shared_tmu.datasets.hand_files import read_hand_file
from shared_tmu.errors import InputError, MissingAssetError
from shared_tmu.metrics import score_ho3d

COUNT = 3


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ho3d")
    write_ho3d(root, "v2", COUNT)
    write_ho3d(root, "v3", COUNT, with_list=True)
    return root


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pristine, tmp_path / "data")


def oracle(opened):
    """What a model that is always right says: relative to a place of its own, with the true camera."""
    wrist = opened.xyz_m[:, :1]
    samples = [opened.load(i) for i in range(len(opened))]
    centre = np.stack([s["box_center"].numpy() for s in samples]).astype(np.float64)
    size = np.array([float(s["box_size"]) for s in samples])
    focal, principal = opened.intrinsics[:, 0, 0], opened.intrinsics[:, :2, 2]
    scale = 2 * focal / (wrist[:, 0, 2] * size)
    shift = wrist[:, 0, :2] - 2 * (centre - principal) / (size * scale)[:, None]
    return {
        "pred_vertices": opened.verts_m - wrist,
        "pred_keypoints_3d": opened.xyz_m - wrist,
        "pred_cam": np.concatenate((scale[:, None], shift), axis=1),
        "box_center": centre,
        "box_size": size,
    }


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_order_frame_and_truth(pristine, version, caplog):
    opened = open_dataset(f"ho3d-{version}", pristine)
    assert opened.sample_ids == tuple(f"{SEQUENCES[i]}/{7 * i:04d}" for i in range(COUNT))
    suffix = {"v2": ".png", "v3": ".jpg"}[version]
    assert [p.relative_to(p.parents[2]).as_posix() for p in opened.images] == [
        i.replace("/", "/rgb/") + suffix for i in opened.sample_ids
    ]
    for index in range(COUNT):
        hand = drawn_hand(index, 640, 480)
        np.testing.assert_allclose(opened.xyz_m[index], hand.hand.keypoints, atol=1e-6)
        np.testing.assert_allclose(opened.wrists_m[index], hand.hand.keypoints[0], atol=1e-6)
        np.testing.assert_allclose(opened.true_px(index), pixels(hand, hand.hand.vertices), atol=0.1)
    assert f"the evaluation split of ho3d-{version}" in caplog.text
    assert opened.official_count == {"v2": 11524, "v3": 20137}[version]


def test_boxes_are_the_set_s_or_those_of_the_list(root):
    own, listed = open_dataset("ho3d-v2", root), open_dataset("ho3d-v3", root)
    assert own.facts == {"tips": "model", "boxes": "handBoundingBox", "placed": "given wrist"}
    assert listed.facts["boxes"] == "ho3d_val.npz"
    for index in range(COUNT):
        width, height = own.boxes_xyxy[index][2:] - own.boxes_xyxy[index][:2]
        sample = own.load(index)
        assert float(sample["box_size"]) == pytest.approx(max(width * 4 / 3, height))
        assert float(listed.load(index)["box_size"]) == pytest.approx(1.5 * max(width * 4 / 3, height))
        middle = (own.boxes_xyxy[index][:2] + own.boxes_xyxy[index][2:]) / 2
        np.testing.assert_allclose(sample["box_center"], middle)
    path = root / "HO3D_v3" / "ho3d_val.npz"
    with np.load(path) as archive:
        entries = dict(archive)
    np.savez(path, **{name: values[::-1] for name, values in entries.items()})  # in another order
    np.testing.assert_array_equal(open_dataset("ho3d-v3", root).boxes_xyxy, listed.boxes_xyxy)
    for names, message in (
        ([f"a/rgb/{i:04d}.jpg" for i in range(COUNT)], "list of another set"),
        (["a/rgb/0000.jpg"] * COUNT, "names a/rgb/0000.jpg more than once"),
    ):
        np.savez(path, **{**entries, "imgname": np.array(names)})
        with pytest.raises(InputError, match=message):
            open_dataset("ho3d-v3", root)
    path.unlink()
    assert open_dataset("ho3d-v3", root).facts["boxes"] == "handBoundingBox"


def test_who_is_right_has_no_error_in_any_alignment(pristine):
    opened = open_dataset("ho3d-v2", pristine)
    placed = opened.place(oracle(opened))
    scores = opened.score(placed)
    for name in ("mpjpe_mm", "mpvpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm", "scale_trans_mpjpe_mm"):
        assert scores.headline[name] < 1e-3, name
    posture = opened.posture(placed)
    for name in ("wrist_mpvpe_mm", "translation_error_mm", "scale_error_pct", "place_error_pct"):
        assert posture[name].max() < 1e-3, name
    assert set(scores.official()) >= {
        "xyz_mean3d", "xyz_procrustes_al_auc3d", "xyz_scale_trans_al_mean3d", "mesh_al_auc3d", "f_al_score_15"
    }  # fmt: skip


def test_a_hand_elsewhere_is_placed_at_the_given_wrist_and_the_camera_s_error_told(pristine):
    opened = open_dataset("ho3d-v2", pristine)
    outputs = oracle(opened)
    outputs["pred_cam"] = outputs["pred_cam"] * (0.5, 1, 1)  # twice as far
    placed = opened.place(outputs)
    assert opened.score(placed).headline["mpjpe_mm"] < 1e-3
    assert opened.posture(placed)["translation_error_mm"].min() > 100
    assert opened.posture(placed)["scale_bias_pct"].max() < -30


def test_the_submission_is_as_the_server_wants_it(pristine, tmp_path):
    opened = open_dataset("ho3d-v2", pristine)
    placed = opened.place(oracle(opened))
    path = opened.write_predictions(placed, tmp_path)
    assert path.name == "pred.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["pred.json"]
        xyz, verts = map(np.array, json.loads(archive.read("pred.json")))
    truth = [
        np.array(json.loads((pristine / f"HO3D_v2/evaluation_{n}.json").read_text()))
        for n in ("xyz", "verts")
    ]
    np.testing.assert_allclose(xyz, truth[0], atol=1e-6)  # MANO order, OpenGL frame, metres
    np.testing.assert_allclose(verts, truth[1], atol=1e-6)
    assert (xyz[..., 2] < 0).all()
    again = opened.read_predictions(path)
    assert opened.score(again).scores_txt() == score_ho3d(xyz, verts, *truth).scores_txt()
    assert "translation_error_mm" not in opened.posture(again)  # the given wrist is not the camera's


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no json", "cannot be read as predictions"),
        (b"[[], []]", r"this set needs joints \(3, 21, 3\)"),
        (b"[1]", "this set needs joints"),
        (b"[" * 100_000, "cannot be read as predictions"),
    ],
)
def test_files_that_are_no_predictions(tmp_path, content, message):
    path = tmp_path / "pred.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_hand_file(path, COUNT)
    with zipfile.ZipFile(tmp_path / "pred.zip", "w") as archive:
        archive.writestr("a/pred.json", content)
    with pytest.raises(InputError, match=message):
        read_hand_file(tmp_path / "pred.zip", COUNT)
    with pytest.raises(InputError, match=r"cannot be read as a \.zip"):
        read_hand_file(path.rename(tmp_path / "pred.zip"), COUNT)
    with pytest.raises(MissingAssetError):
        read_hand_file(tmp_path / "nothing.json", COUNT)


def test_names_and_places(root, tmp_path):
    assert dataset_names("HO3D_v2, HO3D-VAL") == ("ho3d-v2", "ho3d-v3")
    folder = root / "HO3D_v3"
    assert len(open_dataset("ho3d-v3", folder)) == COUNT
    (folder / "evaluation_xyz.json").rename(root / "evaluation_xyz.json")
    assert len(open_dataset("ho3d-v3", root)) == COUNT
    (root / "evaluation_xyz.json").unlink()
    with pytest.raises(MissingAssetError, match=r"lacks evaluation_xyz\.json, the ground truth"):
        open_dataset("ho3d-v3", root)
    with pytest.raises(MissingAssetError, match=r"nowhere/ho3d_v2 holds evaluation\.txt.*assets\.py place"):
        open_dataset("ho3d-v2", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "evaluation.txt").write_text("SM1/0000\n"), "names 1 samples"),
        (lambda f: (f / "evaluation.txt").write_text("../0000\nSM1/0\na/b\n"), r"found '\.\./0000'"),
        (lambda f: (f / "evaluation.txt").write_text("SM1/0000\n" * 3), "found a sample twice"),
        (lambda f: (f / "evaluation/SM1/rgb/0000.png").unlink(), r"lacks 1 of 3 pictures: SM1/rgb/0000\.png"),
        (lambda f: (f / "evaluation/SM1/meta/0000.pkl").unlink(), r"0000\.pkl is missing"),
        (lambda f: (f / "evaluation/SM1/meta/0000.pkl").write_bytes(b"x"), "cannot be read as annotations"),
        (lambda f: (f / "evaluation_verts.json").write_text("[]"), r"expected \(samples, 778, 3\)"),
    ],
)
def test_damage_is_named(root, damage, message):
    damage(root / "HO3D_v2")
    with pytest.raises(InputError, match=message):
        open_dataset("ho3d-v2", root)


def test_an_annotation_runs_no_code_and_has_a_box_with_an_area(root):
    path = root / "HO3D_v2/evaluation/SM1/meta/0000.pkl"
    meta = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps({**meta, "handBoundingBox": [5, 5, 5, 9]}, protocol=2))
    with pytest.raises(InputError, match="has no area"):
        open_dataset("ho3d-v2", root)
    path.write_bytes(pickle.dumps({**meta, "camMat": Path()}, protocol=2))
    with pytest.raises(InputError, match="could execute code"):
        open_dataset("ho3d-v2", root)
    np.testing.assert_array_equal(OPENGL, (1, -1, -1))


def test_wrists_of_other_samples_are_told(root, caplog):
    folder = root / "HO3D_v2"
    open_dataset("ho3d-v2", root)
    assert "handJoints3D" not in caplog.text
    lines = (folder / "evaluation.txt").read_text().split()
    (folder / "evaluation.txt").write_text("\n".join(sorted(lines)))
    open_dataset("ho3d-v2", root)
    assert "handJoints3D lies more than 20 mm from the wrist in evaluation_xyz.json" in caplog.text


def test_a_camera_and_a_unit_that_cannot_be_are_refused(root):
    folder = root / "HO3D_v2"
    verts = np.array(json.loads((folder / "evaluation_verts.json").read_text()))
    (folder / "evaluation_verts.json").write_text(json.dumps((1000 * verts).tolist()))
    with pytest.raises(InputError, match="not of one hand, in metres: 3 of 3"):
        open_dataset("ho3d-v2", root)
    (folder / "evaluation_verts.json").write_text(json.dumps(verts.tolist()))
    (path,) = folder.glob("evaluation/SM1/meta/0000.pkl")
    path.write_bytes(
        pickle.dumps({**pickle.loads(path.read_bytes()), "camMat": np.zeros((3, 3))}, protocol=2)
    )
    with pytest.raises(InputError, match="without a focal length: 1 of 3 samples, first number 0"):
        open_dataset("ho3d-v2", root)


def test_frames_of_a_sequence_are_a_group(pristine):
    opened = open_dataset("ho3d-v2", pristine)
    assert opened.groups == tuple(name.split("/")[0] for name in opened.sample_ids)
