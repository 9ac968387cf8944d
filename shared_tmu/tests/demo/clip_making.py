"""Clips made by code."""

from fractions import Fraction

import av
import cv2
import numpy as np

from shared_tmu.demo.clips import Clip, ClipReader

SIZE = (160, 120)


_RNG = np.random.default_rng(0)


_SMALL = _RNG.integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)


PICTURES = [cv2.resize(one, SIZE, interpolation=cv2.INTER_CUBIC) for one in _SMALL]


PICTURE = PICTURES[0]


def make(path, codec="mpeg4", times_ms=range(0, 2000, 100), aspect=None, size=SIZE, **how):
    """A clip whose picture moves, with frames at given times."""
    pixels, rate = how.pop("pixels", "yuv420p"), how.pop("rate", 10)
    with av.open(str(path), "w", **how) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = Fraction(1, 1000)
        if aspect:
            stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        for index, at in enumerate(times_ms):
            picture = np.roll(cv2.resize(PICTURES[index % 3], size), 3 * index, 1)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "bgr24")
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(path):
    reader = ClipReader(Clip.open(path))
    return reader, [loaded.picture.bgr for loaded in reader]


LIVE = {"container_options": {"live": "1"}, "rate": 1000}
