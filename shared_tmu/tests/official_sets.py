"""Tiny evaluation sets in their official layouts, made of SynthHand's and SynthBody's renders."""

import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models import load_smplx
from shared_tmu.datasets.body_parts import FACE_FILE, HANDS_FILE, J14_FILE, parts_by_weight
from shared_tmu.datasets.ehf import CENTRE_PX, FOCAL_PX, TRANSLATION_M, ehf_rotation
from shared_tmu.synth import write_eval_set
from shared_tmu.synth.body.evalset import ply_bytes
from shared_tmu.synth.body.generator import draw_body
from shared_tmu.synth.body.scene import sample_body_scene
from shared_tmu.synth.generator import DrawnHand, draw, to_bgr
from shared_tmu.synth.scene import sample_scene

SEED = 7
OPENGL = np.array((1.0, -1.0, -1.0))
MANO_ORDER = [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20]
SEQUENCES = ("SM1", "MPM11", "AP10")  # not in alphabetical order, as in the official list


def write_freihand(root: Path, count: int) -> Path:
    """FreiHAND's evaluation package below `root`; returns its folder."""
    folder = write_eval_set(root / "FreiHAND_pub_v2_eval", count=count, seed=SEED)
    for ours in ("synthhand_eval.json", "recipe.json"):
        (folder / ours).unlink()
    return folder


def drawn(index: int, width: int, height: int, scale: float = 0.9) -> DrawnHand:
    """A hand somewhere in a picture."""
    return draw(sample_scene(SEED, index), width, height, scale)


def pixels(hand: DrawnHand, points: NDArray[Any]) -> NDArray[np.float64]:
    """Where a drawn picture shows points."""
    return np.asarray(hand.camera.project(points), np.float64)


def box_around(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The box (x1, y1, x2, y2) of points, a little larger."""
    low, high = points.min(0), points.max(0)
    grown = 0.1 * (high - low)
    return np.concatenate((low - grown, high + grown))


def write_ho3d(root: Path, version: str, count: int, with_list: bool = False) -> Path:
    """HO3D's evaluation split (`"v2"` or `"v3"`) below `root`; returns its folder."""
    folder, suffix = root / f"HO3D_{version}", {"v2": "png", "v3": "jpg"}[version]
    samples = [f"{SEQUENCES[i % len(SEQUENCES)]}/{7 * i:04d}" for i in range(count)]
    xyz, verts, boxes = [], [], []
    for index, sample in enumerate(samples):
        sequence, number = sample.split("/")
        hand = drawn(index, 640, 480)
        for kind in ("rgb", "meta"):
            (folder / "evaluation" / sequence / kind).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"evaluation/{sequence}/rgb/{number}.{suffix}"), to_bgr(hand.image))
        xyz.append((hand.hand.keypoints * OPENGL)[MANO_ORDER])
        verts.append(hand.hand.vertices * OPENGL)
        boxes.append(np.rint(box_around(pixels(hand, hand.hand.vertices))))
        (cx, cy), f = hand.camera.centre_px, hand.camera.focal_px
        meta = {
            "camMat": np.array(((f, 0, cx), (0, f, cy), (0, 0, 1))),
            "handBoundingBox": [int(x) for x in boxes[-1]],
            "handJoints3D": xyz[-1][0],
            "objRot": np.zeros((3, 1)), "objTrans": np.zeros(3), "objName": "006_mustard_bottle",
            "objLabel": 5, "objCorners3D": np.zeros((8, 3)), "objCorners3DRest": np.zeros((8, 3)),
        }  # fmt: skip
        (folder / f"evaluation/{sequence}/meta/{number}.pkl").write_bytes(pickle.dumps(meta, protocol=2))
    (folder / "evaluation.txt").write_text("".join(f"{sample}\n" for sample in samples))
    for name, rows in (("xyz", xyz), ("verts", verts)):
        (folder / f"evaluation_{name}.json").write_text(json.dumps(np.stack(rows).tolist()))
    if with_list:
        corners = np.stack(boxes).reshape(-1, 2, 2)
        np.savez(
            folder / "ho3d_val.npz",
            imgname=np.array([sample.replace("/", "/rgb/") + ".jpg" for sample in samples]),
            center=corners.mean(1).astype(np.float32),
            scale=(1.5 * (corners[:, 1] - corners[:, 0])).astype(np.float32),
            right=np.ones(count, np.uint8),
        )
    return folder


def write_hint(root: Path, part: str, count: int, with_lists: bool = True) -> Path:
    """HInt's test pictures of a part (`"newdays"`, ...) below `root`, every second hand a left one."""
    folder = root / "HInt_annotation" / f"TEST_{part}_img"
    folder.mkdir(parents=True)
    rng, width, height = np.random.default_rng(1), 320, 280
    names, boxes, points, labels = [], [], [], []
    for index in range(count):
        hand = drawn(100 + index, width, height)
        image, places = to_bgr(hand.image), pixels(hand, hand.hand.keypoints)
        is_right = index % 2 == 0
        if not is_right:
            image, places = np.ascontiguousarray(image[:, ::-1]), np.array((width - 1, 0)) + places * (-1, 1)
        name = f"EK_{index:04d}_{'r' if is_right else 'l'}"
        cv2.imwrite(str(folder / f"{name}.jpg"), image)
        kind = rng.integers(0, 5, 21)  # of 5 points, 1 has no label and 1 is occluded
        names.append(f"TEST_{part}_img/{name}.jpg")
        boxes.append(box_around(places))
        points.append(places)
        labels.append(kind)
        entry = {
            "bbox": [boxes[-1].tolist()], "keypoints": places.tolist(),
            "occlusion": [{0: -1, 1: 1}.get(int(k), 0) for k in kind],
        }  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps([entry]))
    if with_lists:
        corners, kinds = np.stack(boxes).reshape(-1, 2, 2), np.stack(labels)
        for subset, flags in (("all", kinds > 0), ("vis", kinds > 1), ("occ", kinds == 1)):
            np.savez(
                folder.parent / f"TEST_{part}_img_{subset}.npz",
                imgname=np.array(names),
                center=corners.mean(1),
                scale=corners[:, 1] - corners[:, 0],
                right=np.array([int(name.endswith("_r.jpg")) for name in names]),
                hand_keypoints_2d=np.concatenate((np.stack(points), flags[..., None]), axis=-1),
            )
    return folder.parent


def write_ehf(root: Path, count: int) -> tuple[Any, ...]:
    """EHF below `root`, seen by EHF's camera, with what comes with SMPL-X; returns the flag that names it."""
    folder, images, annotations = root / "EHF", [], []
    folder.mkdir(parents=True)
    for index in range(count):
        number = f"{index + 1:02d}"
        drawn_body = draw_body(sample_body_scene(SEED, index), 384, 512)
        camera, vertices = drawn_body.camera, np.asarray(drawn_body.body.vertices, np.float64)
        grow = FOCAL_PX / camera.focal_px
        shift = np.array(CENTRE_PX) - grow * np.array(camera.centre_px)
        move = np.column_stack((grow * np.eye(2), shift))
        picture = cv2.warpAffine(to_bgr(drawn_body.image), move, (1600, 1200))
        cv2.imwrite(str(folder / f"{number}_img.jpg"), picture)
        stored = (vertices - TRANSLATION_M) @ ehf_rotation()  # R is orthogonal
        (folder / f"{number}_align.ply").write_bytes(ply_bytes(stored.astype(np.float32)))
        seen = FOCAL_PX * vertices[:, :2] / vertices[:, 2:] + CENTRE_PX
        low, high = np.clip(seen.min(0), 0, (1599, 1199)), np.clip(seen.max(0), 0, (1599, 1199))
        images.append({"id": index, "file_name": f"EHF/{number}_img.jpg", "height": 1200, "width": 1600})
        box = [*low.tolist(), *(high - low).tolist()]
        annotations.append({"id": index, "image_id": index, "body_bbox": box})
    (folder / "EHF.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    body = load_smplx()
    parts = parts_by_weight(body)
    (folder / J14_FILE).write_bytes(pickle.dumps(parts.body14_regressor, protocol=2))
    hands = {f"{side}_hand": np.arange(778) + i for i, side in enumerate(("left", "right"))}
    (folder / HANDS_FILE).write_bytes(pickle.dumps(hands, protocol=2))
    np.save(folder / FACE_FILE, parts.face_vertex_ids)
    np.savez_compressed(root / "SMPLX_NEUTRAL.npz", **body.to_dict())
    return ("--smplx_path", root / "SMPLX_NEUTRAL.npz")
