"""How far SynthHand's labels are from another hand that is drawn in its place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hand_parts.fitting import posed, rigid
from hand_parts.surfaces import Places, Surface, finger_shares, normals_of
from shared_tmu.metrics.alignments import align_similarity
from shared_tmu.synth.hand import synth_hand
from shared_tmu.synth.other_hands import FOLDER, TRAINED, OtherShape, other_hand, sample_other, shown_at
from shared_tmu.synth.poses import BUSY_POSTURES, POSTURES, sample_hand_poses

Array = NDArray[np.float64]
POSES, SEED = 50, 23


def measured(name: str) -> dict[str, Any]:
    """All residuals of one hand in millimetres, over `POSES` random poses and, where it has them, shapes."""
    own = _Own(name)
    hand, other = synth_hand(), other_hand(name)
    rng = np.random.default_rng(SEED)
    poses = sample_hand_poses(rng, POSES, POSTURES | BUSY_POSTURES).astype(np.float32)
    root = np.zeros(3, np.float32)
    found: dict[str, list[Array]] = {}
    largest = 0.0
    for fingers in poses:
        shape = sample_other(rng) if name == TRAINED else OtherShape(name)
        betas = shape.fitted_betas()
        largest = max(largest, float(np.abs(betas).max()))
        label = hand.pose(root, fingers, betas)
        shown = shown_at(label, shape, root, fingers)
        mean = other.pose(root, fingers, ()).vertices.astype(float)
        for key, values in (
            ("label_to_drawn_key_points", _apart(label.keypoints, shown.keypoints)),
            ("label_to_drawn_vertices", _apart(label.vertices, shown.vertices)),
            ("label_to_drawn_surface", _to_surface(label.vertices, shown.vertices)),
            ("label_to_drawn_key_points_aligned", _aligned(label.keypoints, shown.keypoints)),
            ("label_to_drawn_vertices_aligned", _aligned(label.vertices, shown.vertices)),
            ("drawn_to_own_rig_vertices", own.rigged(np.concatenate([root[None], fingers]), mean)),
        ):
            found.setdefault(key, []).append(values)
    at_rest = {
        "own_vertices_to_drawn_surface_at_rest": own.to_drawn(),
        "own_joints_to_drawn_joints_at_rest": own.joints_apart(),
    }
    explained = own.arrays["explained"]
    return {
        "poses": POSES,
        **{key: _stated(np.concatenate(values)) for key, values in found.items()},
        **{key: _stated(values) for key, values in at_rest.items()},
        "largest_fitted_beta": round(largest, 2),
        "directions": int(other.betas_per_shape.shape[1]),
        **({"explained_variance": round(float(explained.sum()), 3)} if len(explained) else {}),
    }


class _Own:
    """The other hand's own surface, joints and skinning at rest."""

    def __init__(self, name: str) -> None:
        with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as arrays:
            self.arrays = {key: arrays[key].astype(float) for key in arrays.files}
        self.faces = self.arrays["faces"].astype(np.int64)
        self.places = Places(self.arrays["place_face"].astype(np.int64), self.arrays["place_bary"])
        self.drawn = other_hand(name).geometry.template.astype(float)

    def rigged(self, turns: Array, drawn: Array) -> Array:
        """Distance of each drawn vertex from where the other hand's own joints and skinning would put it."""
        moved, _ = posed(self.arrays["vertices"], self.arrays["joints"], self.arrays["weights"], turns)
        net = self.places.on(moved, self.faces)
        turn, shift = rigid(net, drawn)
        return _apart(net @ turn.T + shift, drawn)

    def joints_apart(self) -> Array:
        """Distance of the other hand's own joints from those about which it is turned here, `[16]`."""
        return _apart(synth_hand().regressor @ self.drawn, self.arrays["joints"])

    def to_drawn(self) -> Array:
        """Distance of its own vertices, up to the wrist's rim, from the drawn surface."""
        points, weights = self.arrays["vertices"], self.arrays["weights"]
        kept = points[:, 0] < self.drawn[synth_hand().rim, 0].min() - 0.003
        normals = normals_of(points, self.faces)[kept]
        faces, fingers = (
            synth_hand().faces.astype(np.int64),
            finger_shares(synth_hand().weights.astype(float)),
        )
        surface = Surface(self.drawn, faces, fingers)
        return 1e3 * surface.distance(points[kept], normals, finger_shares(weights)[kept])


def _to_surface(label: NDArray[np.float32], shown: NDArray[np.float32]) -> Array:
    """Distance of the label's vertices from the drawn surface, wherever on it."""
    hand = synth_hand()
    faces, fingers = hand.faces.astype(np.int64), finger_shares(hand.weights.astype(float))
    points = label.astype(float)
    surface = Surface(shown.astype(float), faces, fingers, density=2)
    return 1e3 * surface.distance(points, normals_of(points, faces), fingers)


def _apart(points: NDArray[Any], others: NDArray[Any]) -> Array:
    return np.asarray(1e3 * np.linalg.norm(points - others, axis=1), np.float64)


def _aligned(points: NDArray[Any], others: NDArray[Any]) -> Array:
    """As PA-MPJPE and PA-MPVPE are defined: after the best similarity transform."""
    return _apart(align_similarity(points, others, reflection=False), others)


def _stated(values: Array) -> dict[str, float]:
    return {
        "mean_mm": round(float(values.mean()), 2),
        "p95_mm": round(float(np.percentile(values, 95)), 2),
        "max_mm": round(float(values.max()), 2),
    }
