"""MediaPipe's palm and landmark models run by LiteRT: no MediaPipe, any Python and NumPy that LiteRT has.

What MediaPipe's graph does around the models is written here: the picture is drawn into the model's input,
and points are brought back into the picture. `scripts/measure_litert.py` compares the two.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect.landmarks import HandView, Palm, Square
from shared_tmu.detect.palm_boxes import PALM_INPUT_PX, decode, joined
from shared_tmu.detect.quiet import quiet_native_stderr
from shared_tmu.detect.tiles import Tile
from shared_tmu.errors import MissingDependencyError

HAND_INPUT_PX = 224

Floats = NDArray[np.float64]


class LiteRTPalmModel:
    """Finds palms in a tile, as `mediapipe_graph.PalmModel`; to be used by one thread at a time.

    Args:
        content: of the palm model's file.
        min_score: palms with a lower score are not reported.

    Raises:
        MissingDependencyError: ai-edge-litert is not installed.
    """

    def __init__(self, content: bytes, min_score: float) -> None:
        self._network, self._min_score = _Network(content), min_score

    def run(self, tile: Tile) -> list[Palm]:
        """Palms in a tile, in pixels of the image."""
        side = float(max(tile.size_px))
        centre = np.array(tile.size_px) / 2
        boxes, scores = self._network.run(
            _drawn(tile.pixels, centre, side, 0.0, PALM_INPUT_PX, is_black=True)
        )
        found = joined(decode(boxes[0], scores[0, :, 0], self._min_score))

        def to_image(points: Floats) -> Floats:
            return tile.to_image((points - 0.5) * side + centre)

        palms = []
        for score, box, points in zip(found.scores, found.boxes, found.points, strict=True):
            (x1, y1), (x2, y2) = to_image(box.reshape(2, 2)).tolist()
            palms.append(Palm(to_image(points), (x1, y1, x2, y2), float(score)))
        return palms


class LiteRTLandmarkModel:
    """Finds the joints of the hand in a square, as `mediapipe_graph.LandmarkModel`; to be used by one thread
    at a time.

    Args:
        content: of the landmark model's file.

    Raises:
        MissingDependencyError: ai-edge-litert is not installed.
    """

    def __init__(self, content: bytes) -> None:
        self._network = _Network(content)

    def run(self, tile: Tile, square: Square, is_mirrored: bool = False) -> HandView:
        """The hand in a square of the tile, which the model sees as it is or mirrored."""
        last = tile.size_px[0] - 1
        centre = tile.of_image(np.array(square.centre_px))
        sides, angle = square.side_px / np.array(tile.scale), square.angle
        pixels = tile.pixels
        if is_mirrored:
            pixels, angle = np.ascontiguousarray(pixels[:, ::-1]), -angle
            centre[0] = last - centre[0]
        # where a tile's two scales differ, the square is not one in its pixels: the model sees more of it
        side = float(sides.max())
        joints, presence, handedness, _ = self._network.run(
            _drawn(pixels, centre, side, angle, HAND_INPUT_PX, is_black=False)
        )
        seen = joints[0].astype(np.float64).reshape(21, 3)[:, :2] / HAND_INPUT_PX
        points = sides * ((seen - 0.5) * side / sides @ _turn(angle).T) + centre
        if is_mirrored:
            points[:, 0] = last - points[:, 0]
        # the model's first name is for selfies: there, "left" is a right hand of an ordinary photograph
        right = float(handedness[0, 0])
        evidence = right if right >= 0.5 else right - 1.0
        right = -evidence if is_mirrored else evidence
        return HandView(tile.to_image(points), right, float(presence[0, 0]))


class _Network:
    """A model file, run on one thread; outputs in the order of the file's names of them."""

    def __init__(self, content: bytes) -> None:
        with quiet_native_stderr():
            try:
                litert = import_module("ai_edge_litert.interpreter")
            except ImportError as error:
                raise MissingDependencyError(
                    "the litert detector was asked for, but ai-edge-litert is not installed: pip install "
                    "'shared_tmu[litert]', or give boxes: --boxes FILE, or boxes= in Python."
                ) from error
            self._interpreter: Any = litert.Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        (self._input,) = (one["index"] for one in self._interpreter.get_input_details())
        outputs = sorted(self._interpreter.get_output_details(), key=lambda one: str(one["name"]))
        self._outputs = [one["index"] for one in outputs]

    def run(self, pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Outputs for one picture `[H, W, 3]` in [0, 1], with a first dimension of 1."""
        self._interpreter.set_tensor(self._input, pixels[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def _turn(angle: float) -> Floats:
    """Clockwise rotation in a picture, `[2, 2]`."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _drawn(
    pixels: NDArray[np.uint8], centre: Floats, side: float, angle: float, size: int, *, is_black: bool
) -> NDArray[np.float32]:
    """A turned square of a picture at the size of a model's input, `[size, size, 3]` in [0, 1].

    Args:
        pixels: `[H, W, 3]`.
        centre, side, angle: the square, in pixels and radians.
        size: of the input in pixels.
        is_black: whether it is black outside of the picture; otherwise the picture's edge continues.
    """
    import cv2

    box = ((float(centre[0]), float(centre[1])), (side, side), math.degrees(angle))
    corners = np.array([(0, size), (0, 0), (size, 0), (size, size)], np.float32)
    border = cv2.BORDER_CONSTANT if is_black else cv2.BORDER_REPLICATE
    matrix = cv2.getPerspectiveTransform(cv2.boxPoints(box), corners)
    drawn = cv2.warpPerspective(pixels, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(drawn, np.float32) * np.float32(1 / 255)
