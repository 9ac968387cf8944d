"""Reads other people's hands: many shapes of one rigged hand, in MANO's sequence of joints."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError, MissingDependencyError

Array = NDArray[np.float64]
Faces = NDArray[np.int64]
SAMPLES = 400  # hands of adults from which Anny's directions of shape are computed
ANNY_FINGERS = (2, 3, 5, 4, 1)  # Anny's numbers of the fingers in MANO's sequence
ANNY_CHANGES = (
    "r-hand-fingers-length-incr", "r-hand-scale-incr", "r-hand-fingers-diameter-incr",
    "r-hand-fingers-distance-incr",
)  # fmt: skip
ARM_M = 0.03  # of the forearm that is kept
WEBXR_FINGERS = ("index-finger", "middle-finger", "pinky-finger", "ring-finger", "thumb")


@dataclass(frozen=True)
class Source:
    """Hands of one topology; the first is the mean one.

    Attributes:
        vertices: `[S, V, 3]` metres.
        joints: wrist, then three each of index, middle, pinky, ring and thumb, `[S, 16, 3]` metres.
        faces: counter-clockwise from outside, `[F, 3]`.
        weights: skinning weights in rows of sum one, `[V, 16]`.
    """

    vertices: Array
    joints: Array
    faces: Faces
    weights: Array


def read_anny(samples: int = SAMPLES) -> Source:
    """Right hands of random adults of the package `anny`, and at first its average adult's.

    Raises:
        MissingDependencyError: the package is not installed.
    """
    try:
        import anny
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            "Anny's hand needs the package anny, which is not installed: `pip install --no-deps anny roma`, "
            "or leave it out with `--only webxr`."
        ) from error
    model = anny.Anny(rig="anny", topology="anny", local_changes=list(ANNY_CHANGES))
    rng = np.random.default_rng(11)
    shapes = {name: rng.uniform(0.1, 0.9, samples) for name in model.phenotype_labels}
    shapes["age"] = rng.uniform(0.62, 0.95, samples)  # 2/3 is a young adult, 1 is old
    changes = {name: np.clip(rng.normal(0.0, 0.3, samples), -1.0, 1.0) for name in ANNY_CHANGES}
    for name, values in (shapes | changes).items():
        values[0] = {"age": 2 / 3}.get(name, 0.0 if name in changes else 0.5)
    vertices, joints = [], []
    names = list(model.bone_labels)
    order = [names.index("wrist.R")]
    order += [names.index(f"finger{finger}-{k}.R") for finger in ANNY_FINGERS for k in (1, 2, 3)]
    weights = model.dense_vertex_bone_weights.numpy().astype(float)
    hand = [
        i for i, name in enumerate(names) if name.endswith(".R") and name[:5] in ("finge", "metac", "wrist")
    ]
    arm = [i for i, name in enumerate(names) if name.startswith("lowerarm") and name.endswith(".R")]
    kept = weights[:, hand + arm].sum(1) > 0.5
    rest = torch.eye(4)[None, None].repeat(1, model.bone_count, 1, 1)
    for k in range(samples):
        found = model(
            pose_parameters=rest,
            phenotype_kwargs={name: float(values[k]) for name, values in shapes.items()},
            local_changes_kwargs={name: float(values[k]) for name, values in changes.items()},
        )
        vertices.append(found["rest_vertices"][0].numpy().astype(float))
        joints.append(found["rest_bone_heads"][0].numpy().astype(float)[order])
    own = weights[:, order]
    own[:, 0] = np.maximum(1.0 - own[:, 1:].sum(1), 0.0)
    return _cropped(
        Source(np.stack(vertices), np.stack(joints), model.faces.numpy().astype(np.int64), own), kept
    )


def read_webxr(path: Path) -> Source:
    """The right hand of `profiles/generic-hand/right.glb` of the npm package `@webxr-input-profiles/assets`.

    Raises:
        InputError: the file is not that hand.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path.name} cannot be read ({error.strerror}): name profiles/generic-hand/right.glb of the npm "
            "package @webxr-input-profiles/assets with --webxr."
        ) from error
    try:
        size = struct.unpack_from("<4s4xI I", data)[2] if data[:4] == b"glTF" else -1
        text = json.loads(data[20 : 20 + size])
        return _webxr(text, data[28 + size :])
    except (KeyError, IndexError, ValueError, struct.error) as error:
        raise InputError(
            f"{path.name} is not a GLB file with a WebXR hand ({error}): name "
            "profiles/generic-hand/right.glb of the npm package @webxr-input-profiles/assets."
        ) from error


def _webxr(text: Any, data: bytes) -> Source:
    def array(number: int) -> NDArray[Any]:
        about = text["accessors"][number]
        view = text["bufferViews"][about["bufferView"]]
        kind = {5121: np.uint8, 5123: np.uint16, 5126: np.float32}[about["componentType"]]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[about["type"]]
        start = view.get("byteOffset", 0) + about.get("byteOffset", 0)
        found = np.frombuffer(data, kind, about["count"] * width, start)
        return found.reshape(-1, width)

    part, skin = text["meshes"][0]["primitives"][0], text["skins"][0]
    named = {text["nodes"][node]["name"]: k for k, node in enumerate(skin["joints"])}
    places = np.stack([np.linalg.inv(m.reshape(4, 4).T)[:3, 3] for m in array(skin["inverseBindMatrices"])])
    phalanges = ("phalanx-proximal", "phalanx-intermediate", "phalanx-distal")
    thumb = ("metacarpal", "phalanx-proximal", "phalanx-distal")
    wanted = ["wrist"]
    for finger in WEBXR_FINGERS:
        wanted += [f"{finger}-{bone}" for bone in (thumb if finger == "thumb" else phalanges)]
    points = array(part["attributes"]["POSITION"]).astype(float)
    bones, shares = (array(part["attributes"][key]) for key in ("JOINTS_0", "WEIGHTS_0"))
    dense = np.zeros((len(points), len(named)))
    np.add.at(dense, (np.arange(len(points))[:, None], bones), shares)
    for finger in WEBXR_FINGERS:  # a tip moves with the last bone
        dense[:, named[f"{finger}-phalanx-distal"]] += dense[:, named[f"{finger}-tip"]]
    order = [named[name] for name in wanted]
    weights = dense[:, order]
    weights[:, 0] = np.maximum(1.0 - weights[:, 1:].sum(1), 0.0)  # bones of the palm
    _, first, inverse = np.unique(np.round(points, 6), axis=0, return_index=True, return_inverse=True)
    faces = inverse.reshape(-1)[array(part["indices"]).reshape(-1, 3)].astype(np.int64)
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(1)]  # vertices were doubled at seams
    return Source(points[None, first], places[None, order], faces, weights[first])


def _cropped(source: Source, kept: NDArray[np.bool_]) -> Source:
    """The vertices that are `kept` and lie no further up the arm than `ARM_M` past the wrist."""
    wrist, along = source.joints[0, 0], source.joints[0, 0] - source.joints[0, 4]
    past = (source.vertices[0] - wrist) @ (along / np.linalg.norm(along))
    faces = source.faces[(kept & (past < ARM_M))[source.faces].all(1)]
    used, inverse = np.unique(faces, return_inverse=True)
    return Source(source.vertices[:, used], source.joints, inverse.reshape(-1, 3), source.weights[used])
