"""The 21 joints of a hand, numbered, on a left and a right hand, with the axes of the camera frame."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from figure_parts.style import BLACK, BLUE, GREEN, VERMILION, WIDTH, new_figure, show
from figure_parts.table import Figure
from shared_tmu.body_models import load_mano
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.pictures.geometry import axis_angle_to_rotmat, mirror_rotmat
from shared_tmu.pictures.overlays import LEFT_RGB, RIGHT_RGB, Mesh, View, draw_meshes
from shared_tmu.programs.hand_records import JOINT_NAMES
from shared_tmu.synth.poses import posture_pose
from shared_tmu.synth.scene import UPRIGHT_BACK

SIDE_PX, FOCAL_PX, DISTANCE_M = 900, 2300.0, 0.6
POSTURE = "flat"
CHAINS = [(0, *range(4 * finger + 1, 4 * finger + 5)) for finger in range(5)]
"""Joints from the wrist to each finger tip."""

Points = NDArray[np.float64]


def pose(side: str) -> tuple[Points, Points, NDArray[np.int64]]:
    """A hand in front of the camera with its back towards it: vertices, joints, and outward triangles.

    A left hand is posed as results describe it: by a left MANO model and mirrored rotations.
    """
    layer = ManoLayer(load_mano(side="left" if side == "left" else "right"))
    root = torch.tensor(UPRIGHT_BACK, dtype=torch.float32)[None, None]
    fingers = axis_angle_to_rotmat(torch.tensor(posture_pose(POSTURE), dtype=torch.float32))[None]
    if side == "left":
        root, fingers = mirror_rotmat(root), mirror_rotmat(fingers)
    posed = layer(root, fingers, torch.zeros(1, 10))
    vertices, joints = (points[0].numpy().astype(np.float64) for points in (posed.vertices, posed.keypoints))
    shift = np.array([0.0, 0.006, DISTANCE_M]) - (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    return vertices + shift, joints + shift, np.asarray(layer.faces).astype(np.int64)


def draw() -> Any:
    """A panel for each side."""
    figure = new_figure(WIDTH * 0.56)
    for axes, side in zip(figure.subplots(1, 2), ("left", "right"), strict=True):
        _draw_hand(axes, side)
    return figure


def _draw_hand(axes: Any, side: str) -> None:
    vertices, joints, faces = pose(side)
    middle = (SIDE_PX - 1) / 2
    view = View(FOCAL_PX, (middle, middle), SIDE_PX, SIDE_PX)
    white = np.full((SIDE_PX, SIDE_PX, 3), 255, np.uint8)
    mesh = Mesh(vertices, faces, LEFT_RGB if side == "left" else RIGHT_RGB)
    show(axes, draw_meshes(white, [mesh], view)[:, :, ::-1])
    points = joints[:, :2] / joints[:, 2:] * FOCAL_PX + middle
    for chain in CHAINS:
        axes.plot(*points[list(chain)].T, color=BLACK, linewidth=0.9, alpha=0.55)
    for number, (x, y) in enumerate(points):
        circle = {"boxstyle": "circle,pad=0.16", "facecolor": "white", "edgecolor": BLACK, "linewidth": 0.5}
        axes.text(x, y, str(number), ha="center", va="center", fontsize=6.0, bbox=circle)
    for chain in CHAINS:
        _name_finger(axes, points, chain)
    axes.set_title(f"{side} hand, from its back")
    if side == "left":
        _draw_frame(axes)


def _name_finger(axes: Any, points: Points, chain: tuple[int, ...]) -> None:
    """The finger's name beyond its tip."""
    tip, before = points[chain[-1]], points[chain[-2]]
    along = (tip - before) / np.linalg.norm(tip - before)
    name = JOINT_NAMES[chain[-1]].rpartition("_")[0]
    axes.text(*(tip + 52 * along), name, ha="center", va="center", fontsize=7.5)


def _draw_frame(axes: Any) -> None:
    """x to the right, y down, z away from the viewer."""
    at, length = np.array([60.0, SIDE_PX - 150.0]), 80.0
    for name, end, color in (("x", (length, 0.0), VERMILION), ("y", (0.0, length), GREEN)):
        arrow = {"arrowstyle": "-|>", "color": color, "linewidth": 1.2, "shrinkA": 0.0, "shrinkB": 0.0}
        axes.annotate("", at + end, at, arrowprops=arrow)
        axes.text(*(at + np.array(end) * 1.3), name, color=color, ha="center", va="center")
    axes.plot(*at, marker="o", markersize=8, markerfacecolor="white", color=BLUE)
    axes.plot(*at, marker="x", markersize=4.5, color=BLUE)
    axes.text(*(at - 34), "z (forward)", color=BLUE, ha="left", va="center")


def rows() -> list[Figure]:
    """The one figure."""
    return [Figure("joints", "joints", "the 21 joints of a hand, numbered", (), lambda _: draw())]
