"""A clip, and the demo on it."""

import cv2
import numpy as np

from shared_tmu.demo import main
from shared_tmu.demo.clip_writer import ClipWriter
from shared_tmu.demo.clips import Clip, ClipReader

RIGHT = {"box_xyxy": [30, 20, 70, 70], "is_right": True}


LEFT = {"box_xyxy": [90, 30, 130, 80], "is_right": False, "score": 0.5}


BOXES = {"clip.mp4": [RIGHT], "clip.mp4:3": [], "clip.mp4:4": [], "clip.mp4:5": [RIGHT, LEFT]}


FRAMES, FPS, SIZE = 8, 10.0, (160, 120)


def write_clip(path, frames=FRAMES, fps=FPS, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with ClipWriter(path, size) as writer:
        for index in range(frames):
            writer.write(cv2.resize(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), size), index / fps)
        writer.finish(frames / fps)
    return path


def frames_of(path):
    return [loaded.picture.bgr for loaded in ClipReader(Clip.open(path))]


def run(program, clip, out, *flags, boxes=None):
    arguments = ["--video", clip, "--out_folder", out, "--device", "cpu", "--r", "4x3", "--batch_size", 3]
    arguments += ["--boxes", boxes] if boxes else []
    return main(program, [str(argument) for argument in (*arguments, *flags)])
