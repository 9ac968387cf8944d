"""MediaPipe's hand graph on one tile at a time, quietly.

Convention: MediaPipe names hands as in a selfie, which is mirrored; here a right hand is the person's right
hand in an ordinary photograph.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from shared_tmu.detect.landmarks import HandView
from shared_tmu.detect.tiles import Tile
from shared_tmu.errors import MissingDependencyError

MIN_PALM_SCORE = 0.25
MIN_HAND_SCORE = 0.5
MAX_HANDS = 8


class HandGraph:
    """MediaPipe's palm and landmark models in still-image mode; one thread at a time."""

    def __init__(self) -> None:
        with quiet_native_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                import mediapipe
            except ImportError as error:
                raise MissingDependencyError(
                    "the mediapipe detector was asked for, but mediapipe is not installed: pip install "
                    "'shared_tmu[detect]', or give boxes with --detector boxes --boxes FILE."
                ) from error
            self._hands = mediapipe.solutions.hands.Hands(
                static_image_mode=True,
                max_num_hands=MAX_HANDS,
                model_complexity=1,
                min_detection_confidence=MIN_PALM_SCORE,
                min_tracking_confidence=MIN_HAND_SCORE,
            )
            self._hands.process(np.zeros((64, 64, 3), np.uint8))  # the models load, and say so, on first use
        self._has_seen_a_hand = False  # until then the native code has one more thing to say

    def run(self, tile: Tile, is_mirrored: bool = False, quarter_turns: int = 0) -> list[HandView]:
        """Hands in a tile, looked at mirrored and then turned counter-clockwise by quarter turns."""
        pixels = tile.pixels[:, ::-1] if is_mirrored else tile.pixels
        pixels = np.ascontiguousarray(np.rot90(pixels, quarter_turns))
        quiet = contextlib.nullcontext() if self._has_seen_a_hand else quiet_native_stderr()
        with quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result: Any = self._hands.process(pixels)
        if not result.multi_hand_landmarks:
            return []
        self._has_seen_a_hand = True
        views = []
        for marks, side in zip(result.multi_hand_landmarks, result.multi_handedness, strict=True):
            points = np.array([(mark.x, mark.y) for mark in marks.landmark], dtype=np.float64)
            for _ in range(quarter_turns):
                points = np.stack([1.0 - points[:, 1], points[:, 0]], axis=1)
            if is_mirrored:
                points[:, 0] = 1.0 - points[:, 0]
            named = side.classification[0]
            is_right = (named.label == "Left") != is_mirrored
            views.append(HandView(tile.to_image(points), float(named.score) * (1 if is_right else -1)))
        return views


@contextlib.contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Send what native code writes to stderr nowhere; logging settings do not reach it."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
