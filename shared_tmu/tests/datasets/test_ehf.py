"""EHF's layout, parts and failures, on a made-up folder; scores against a direct computation."""

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh
from smplx_standin import smplx_standin

from shared_tmu.datasets import BodyMeshSet, SetOptions, dataset_names, open_dataset
from shared_tmu.datasets.body_parts import (
    FACE_FILE,
    HANDS_FILE,
    J14_FILE,
    hand21_regressor,
    parts_by_weight,
    read_official_parts,
)
from shared_tmu.datasets.ehf import CENTRE_PX, FOCAL_PX, TRANSLATION_M, ehf_rotation
from shared_tmu.errors import BodyModelError, InputError, MissingAssetError
from shared_tmu.metrics import align_similarity, score_ehf

COUNT = 3
BODY = smplx_standin()


def true_mesh(index: int) -> np.ndarray:
    return np.asarray(BODY.v_template, dtype=np.float64) * (1 + 0.1 * index) + (0, 0, 0.2 * index)


@pytest.fixture(scope="module")
def body_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smplx") / "SMPLX_NEUTRAL.npz"
    np.savez(path, **BODY.to_dict())
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Pictures, meshes, boxes and what comes with SMPL-X."""
    folder = tmp_path / "data" / "EHF"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        number = f"{i + 1:02d}"
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}_img.jpg"), cv2.resize(coarse, (160, 120)))
        mesh = trimesh.Trimesh(true_mesh(i).astype(np.float32), BODY.faces, process=False)
        (folder / f"{number}_align.ply").write_bytes(mesh.export(file_type="ply", vertex_normal=False))
    write_boxes(folder)
    write_parts(folder)
    return folder


def write_boxes(folder: Path, prefix: str = "EHF/") -> None:
    content = {
        "images": [
            {"id": 7 + i, "file_name": f"{prefix}{i + 1:02d}_img.jpg", "height": 120, "width": 160}
            for i in range(COUNT)
        ],
        "annotations": [
            {"id": i, "image_id": 7 + i, "body_bbox": [10 + i, 5, 100, 110], "face_bbox": [0, 0, 1, 1]}
            for i in range(COUNT)
        ],
    }
    (folder / "EHF.json").write_text(json.dumps(content))


def write_parts(folder: Path) -> None:
    rng = np.random.default_rng(1)
    regressor = rng.dirichlet(np.ones(5), (14,)) @ np.eye(5, 10475)
    (folder / J14_FILE).write_bytes(pickle.dumps(regressor, protocol=5))
    hands = {f"{side}_hand": rng.choice(10475, 778, replace=False) for side in ("left", "right")}
    (folder / HANDS_FILE).write_bytes(pickle.dumps(hands, protocol=2))
    np.save(folder / FACE_FILE, rng.choice(10475, 5023, replace=False))


def open_ehf(root: Path, body_path: Path, config: Any = None) -> BodyMeshSet:
    opened = open_dataset("ehf", root, SetOptions(config, body_path))
    assert isinstance(opened, BodyMeshSet)
    return opened


@pytest.mark.parametrize("prefix", ["EHF/", ""])
def test_pictures_boxes_and_meshes_belong_together(root: Path, body_path: Path, prefix: str) -> None:
    write_boxes(root, prefix)
    opened = open_ehf(root, body_path)
    assert [path.name for path in opened.images] == ["01_img.jpg", "02_img.jpg", "03_img.jpg"]
    assert opened.boxes_xyxy[1].tolist() == [11, 5, 111, 115]
    rotated = true_mesh(1).astype(np.float32) @ ehf_rotation().T
    assert np.abs(opened.true_vertices(slice(1, 2))[0] - rotated).max() < 1e-5
    assert opened.load(2)["img"].shape == (3, 256, 192)
    assert opened.facts == {"parts": "official", "boxes": "EHF.json", "bbox_ratio": 1.2}
    above = open_ehf(root.parent, body_path)
    assert above.fingerprint == opened.fingerprint
    assert len(opened.head(2)) == 2


def test_the_models_crop_is_used(root: Path, body_path: Path) -> None:
    config = SimpleNamespace(encoder=SimpleNamespace(img_size=(128, 96)), bbox_ratio=1.25)
    opened = open_ehf(root, body_path, config)
    assert opened.load(0)["img"].shape == (3, 128, 96)
    assert opened.facts["bbox_ratio"] == 1.25


def test_without_boxes_they_come_from_the_true_meshes(
    root: Path, body_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "EHF.json").unlink()
    (root / "02_img.jpg").rename(root / "02_img.png")
    opened = open_ehf(root, body_path)
    assert opened.images[1].name == "02_img.png"
    assert opened.facts["boxes"] == "projected true vertices"
    assert "boxes are made from the true meshes" in caplog.text
    points = true_mesh(0) @ ehf_rotation().T + np.array(TRANSLATION_M)
    pixels = FOCAL_PX * points[:, :2] / points[:, 2:] + np.array(CENTRE_PX)
    want = np.concatenate((pixels.min(0), pixels.max(0)))
    assert np.allclose(opened.boxes_xyxy[0], want, atol=1e-2)


def test_rotation_is_the_recorded_one() -> None:
    want = ((0.99924, -0.00488, 0.03855), (-0.01072, -0.98820, 0.15277), (0.03735, -0.15306, -0.98751))
    assert np.allclose(ehf_rotation(), want, atol=1e-5)


def test_scores_are_those_of_a_direct_computation(root: Path, body_path: Path, tmp_path: Path) -> None:
    opened = open_ehf(root, body_path)
    rng = np.random.default_rng(2)
    truth = opened.true_vertices(slice(0, COUNT))
    predicted = (truth * 1.1 + 0.3 + rng.normal(0, 0.01, truth.shape)).astype(np.float32)
    sizes = dict.fromkeys(opened.kept, (3,)) | {"smplx_body_pose": (63,), "to_picture": (2, 3)}
    outputs = {name: rng.normal(size=(COUNT, *n)).astype(np.float32) for name, n in sizes.items()}
    outputs["smplx_mesh_cam"] = predicted
    placed = opened.place(outputs)
    scores = opened.score(placed)
    aligned = align_similarity(predicted, truth, reflection=False)
    want = 1000 * np.linalg.norm(aligned - truth, axis=2).mean()
    assert scores.headline["pa_mpvpe_mm"] == pytest.approx(want, abs=1e-9)
    direct = score_ehf(predicted, truth, opened.parts)
    assert scores.official() == pytest.approx({name: values.mean() for name, values in direct.items()})
    assert set(scores.headline) >= {"pa_mpvpe_hand_mm", "pa_mpvpe_face_mm", "mpvpe_mm", "pa_mpjpe_mm"}
    assert scores.scores_txt().splitlines()[0] == f"pa_mpvpe_all: {want:f}"
    opened.write_predictions(placed, tmp_path)
    with np.load(tmp_path / "pred.npz") as saved:
        assert np.array_equal(saved["smplx_body_pose"], outputs["smplx_body_pose"])
    again = opened.read_predictions(tmp_path / "pred.npz")
    assert opened.score(again).scores_txt() == scores.scores_txt()
    placed["vertices_m"][1, 5] = np.nan
    with pytest.raises(InputError, match="1 of 3 samples have predicted vertices that are not finite: 1"):
        opened.score(placed)


def test_parts(root: Path) -> None:
    files = {name: root / name for name in (J14_FILE, HANDS_FILE, FACE_FILE)}
    official = read_official_parts(BODY, files)
    assert official.body14_regressor.shape == (14, 10475)
    assert len(official.left_hand_vertex_ids) == 778
    assert len(official.face_vertex_ids) == 5023
    rows = hand21_regressor(BODY, "right")
    assert np.allclose(rows[0], BODY.J_regressor[21])
    assert np.allclose(rows[1], BODY.J_regressor[52])  # the thumb's first joint
    assert rows[4].argmax() == 8079
    assert rows[20].argmax() == 8022
    assert np.allclose(rows[17], BODY.J_regressor[46])  # the pinky's first joint
    own = parts_by_weight(BODY)
    strongest = np.asarray(BODY.weights).argmax(1)
    assert set(strongest[own.left_hand_vertex_ids]) == {20, *range(25, 40)}
    assert set(strongest[own.right_hand_vertex_ids]) == {21, *range(40, 55)}
    assert set(strongest[own.face_vertex_ids]) == {12, 15, 22, 23, 24}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (HANDS_FILE, {"left_hand": np.arange(778)}, "holds no list of vertices"),
        (HANDS_FILE, {"left_hand": np.arange(700), "right_hand": np.arange(778)}, "lists 700 vertices"),
        (J14_FILE, np.zeros((14, 6890)), r"has shape \(14, 6890\)"),
        (J14_FILE, {"J": 1}, "holds a dict, expected one array"),
    ],
)
def test_other_files_are_not_parts(
    root: Path, body_path: Path, name: str, content: Any, message: str
) -> None:
    (root / name).write_bytes(pickle.dumps(content))
    with pytest.raises(BodyModelError, match=message):
        open_ehf(root, body_path)


def test_what_is_missing_is_said(root: Path, body_path: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingAssetError, match=r"nor .*EHF contains 01_align\.ply.*smpl-x"):
        open_dataset("ehf", tmp_path / "nowhere")
    with pytest.raises(MissingAssetError, match="pass --smplx_path"):
        open_dataset("ehf", root)
    (root / J14_FILE).rename(body_path.parent / J14_FILE)
    open_ehf(root, body_path)  # beside the body model is as good
    (body_path.parent / J14_FILE).unlink()
    with pytest.raises(MissingAssetError, match=r"needs SMPLX_to_J14\.pkl, which"):
        open_ehf(root, body_path)


def test_damage_is_named(root: Path, body_path: Path) -> None:
    (root / "02_img.jpg").rename(root / "away.jpg")
    with pytest.raises(InputError, match=r"names the picture EHF/02_img\.jpg, which is not in"):
        open_ehf(root, body_path)
    (root / "EHF.json").rename(root / "boxes.json")
    with pytest.raises(InputError, match=r"lacks 1 of 3 pictures: 02_img\.jpg"):
        open_ehf(root, body_path)
    (root / "away.jpg").rename(root / "02_img.jpg")
    (root / "EHF.json").write_text('{"images": []}')
    with pytest.raises(InputError, match="cannot be read as boxes in COCO style"):
        open_ehf(root, body_path)
    write_boxes(root)
    (root / "03_align.ply").rename(root / "03.ply")
    with pytest.raises(InputError, match=r"lacks 1 of 3 meshes: 03_align\.ply"):
        open_ehf(root, body_path)
    (root / "03_align.ply").write_bytes((root / "03.ply").read_bytes()[:5000])
    opened = open_ehf(root, body_path)
    with pytest.raises(InputError, match=r"03_align\.ply"):
        opened.true_vertices(slice(0, 3))


def test_bodies_and_hands_have_their_own_sets() -> None:
    assert dataset_names("EHF, SynthBody-Eval", "body") == ("ehf", "synthbody")
    assert dataset_names("synthbody_varied", "body") == ("synthbody-varied",)
    with pytest.raises(InputError, match=r"no dataset 'ehf'.*use one of synthhand"):
        dataset_names("ehf", "hand")


def test_other_parts_make_another_set(root: Path, body_path: Path) -> None:
    before = open_ehf(root, body_path)
    np.save(root / FACE_FILE, np.arange(5))
    after = open_ehf(root, body_path)
    assert before.fingerprint != after.fingerprint
    assert open_ehf(root, body_path).fingerprint == after.fingerprint


def test_the_true_outline_has_the_body_model_s_triangles(root: Path, body_path: Path) -> None:
    data = open_ehf(root, body_path)
    scene = data.scene(0, data.load(0), with_detector=False)
    np.testing.assert_array_equal(scene.true_outline.faces, BODY.faces)
