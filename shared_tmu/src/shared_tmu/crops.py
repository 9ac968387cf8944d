"""Hand crops: from a picture and a box to the network input of HaMeR and WiLoR.

Convention: pixels, x right, y down, pixel centres at integers; boxes are (x1, y1, x2, y2). A crop of size S
with side b reads, for its pixel (u, v), the picture at (cx + (u - S/2) * b/S, cy + (v - S/2) * b/S),
bilinearly, with black outside the picture. For a left hand the picture is mirrored first, which moves cx to W
- cx - 1.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared_tmu.errors import InputError, MissingDependencyError

MEAN = (0.485, 0.456, 0.406)
"""Mean of red, green, blue in 0..1 by which inputs are normalised (ImageNet's)."""
STD = (0.229, 0.224, 0.225)
"""Standard deviation of red, green, blue in 0..1 by which inputs are normalised (ImageNet's)."""
ASPECT = (192, 256)
"""Width and height of the part of the crop that the network sees; boxes grow to this shape."""

BLUR_FROM = 1.1  # half the number of picture pixels per crop pixel beyond which the picture is blurred
TRUNCATE = 4.0  # standard deviations at which the Gaussian ends
TILE_PX = 4096  # picture pixels read at a time


@dataclass(frozen=True, eq=False)
class HandCrop:
    """One network input and where it came from.

    Attributes:
        img: normalised RGB, float32 `[3, S, S]`; mirrored if `right` is false.
        box_center: (x, y) of the crop's centre in the picture (not mirrored), pixels, float32 `[2]`.
        box_size: side of the square crop in the picture, pixels.
        img_size: (width, height) of the picture, pixels, float32 `[2]`.
        right: whether this is a right hand.
    """

    img: NDArray[np.float32]
    box_center: NDArray[np.float32]
    box_size: float
    img_size: NDArray[np.float32]
    right: bool


def crop_square(
    box_xyxy: ArrayLike, rescale_factor: float = 2.0, aspect: tuple[int, int] | None = ASPECT
) -> tuple[tuple[float, float], float]:
    """Find the square crop around a box.

    Args:
        box_xyxy: (x1, y1, x2, y2), pixels.
        rescale_factor: the box grows by this factor; -1 takes it as it is (the published evaluation lists).
        aspect: then it grows to this (width, height) shape, None leaves its shape; the longer side counts.

    Returns:
        Centre (x, y) and side, pixels.

    Raises:
        InputError: the box is not four finite numbers, or has no area.
    """
    box = np.asarray(box_xyxy, dtype=np.float64)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise InputError(f"a box is four finite numbers x1, y1, x2, y2 in pixels, found {box_xyxy!r}.")
    x1, y1, x2, y2 = (float(x) for x in box)
    if x2 <= x1 or y2 <= y1:
        raise InputError(f"box {[x1, y1, x2, y2]} has no area: x2 must exceed x1, and y2 must exceed y1.")
    factor = 1.0 if rescale_factor == -1 else rescale_factor
    if not (math.isfinite(factor) and factor > 0):
        raise InputError(f"rescale_factor must be positive, or -1 for none, found {rescale_factor}.")
    width, height = factor * (x2 - x1), factor * (y2 - y1)
    side = max(width, height)
    if aspect is not None:
        side = max(side, width * aspect[1] / aspect[0], height * aspect[0] / aspect[1])
    return ((x1 + x2) / 2, (y1 + y2) / 2), side


def hand_crop(
    image_bgr: NDArray[np.uint8],
    box_xyxy: ArrayLike,
    right: bool,
    rescale_factor: float = 2.0,
    image_size: int = 256,
    antialias: bool = True,
    aspect: tuple[int, int] | None = ASPECT,
) -> HandCrop:
    """Cut a hand out of a picture as the published demos do, or (see below) as the evaluations do.

    Demo: the defaults. FreiHAND and HO3D lists: `rescale_factor=-1, antialias=False`. HInt lists:
    `antialias=False, aspect=None`.

    Args:
        image_bgr: the picture as OpenCV loads it, uint8 `[H, W, 3]`.
        box_xyxy: the hand's box, pixels; may leave the picture, which is black outside.
        right: false mirrors the crop, so that the network always sees right hands.
        rescale_factor: see `crop_square`.
        image_size: side of the crop in the output, pixels.
        antialias: blur first where one output pixel covers more than 2.2 picture pixels.
        aspect: see `crop_square`.

    Raises:
        InputError: the picture is not uint8 `[H, W, 3]`, or the box has no area.
    """
    if image_bgr.dtype != np.uint8 or image_bgr.ndim != 3 or image_bgr.shape[2] != 3 or image_bgr.size == 0:
        raise InputError(
            f"a crop is cut from a uint8 picture [H, W, 3], found {image_bgr.dtype} {list(image_bgr.shape)}."
        )
    centre, side = crop_square(box_xyxy, rescale_factor, aspect)
    half_step = side / image_size / 2
    sigma = (half_step - 1) / 2 if antialias and half_step > BLUR_FROM else 0.0
    pixels = _sample(image_bgr, centre, side, image_size, sigma, mirror=not right)
    scale = 255.0 * np.array(STD)
    rgb = (pixels[..., ::-1].astype(np.float64) - 255.0 * np.array(MEAN)) / scale
    height, width = image_bgr.shape[:2]
    return HandCrop(
        img=np.ascontiguousarray(rgb.transpose(2, 0, 1), dtype=np.float32),
        box_center=np.array(centre, dtype=np.float32),
        box_size=side,
        img_size=np.array((width, height), dtype=np.float32),
        right=bool(right),
    )


def _sample(
    image: NDArray[np.uint8], centre: tuple[float, float], side: float, size: int, sigma: float, mirror: bool
) -> NDArray[np.generic]:
    """Blur, mirror and warp: `[size, size, 3]`, float64 where blurred, else uint8.

    Works in tiles that read at most about `TILE_PX` picture pixels each way, so that memory stays small and
    OpenCV's limit of 32767 pixels is never met. Ordinary crops are a single tile.
    """
    step = side / size
    cx = image.shape[1] - centre[0] - 1 if mirror else centre[0]
    left, top = cx - side / 2, centre[1] - side / 2
    out: NDArray[np.generic] = np.zeros((size, size, 3), np.float64 if sigma > 0 else np.uint8)
    tile = min(size, max(1, int(TILE_PX / step)))
    for v in range(0, size, tile):
        for u in range(0, size, tile):
            window = out[v : v + tile, u : u + tile]
            _fill(window, image, (left + u * step, top + v * step), step, sigma, mirror)
    return out


def _fill(
    out: NDArray[np.generic],
    image: NDArray[np.uint8],
    origin: tuple[float, float],
    step: float,
    sigma: float,
    mirror: bool,
) -> None:
    """Fill one tile whose first pixel reads the (mirrored) picture at `origin`."""
    cv2 = _opencv()
    (rows, columns), (height, width) = out.shape[:2], image.shape[:2]
    x1, x2 = _clip(origin[0] - 1, width), _clip(origin[0] + columns * step + 3, width)
    y1, y2 = _clip(origin[1] - 1, height), _clip(origin[1] + rows * step + 3, height)
    if x1 == x2 or y1 == y2:
        return
    a, b = (width - x2, width - x1) if mirror else (x1, x2)  # columns of the picture as it is
    part: NDArray[np.generic] = image[y1:y2, a:b]
    if sigma > 0:
        margin = int(TRUNCATE * sigma + 0.5)
        left, top = max(a - margin, 0), max(y1 - margin, 0)
        around = image[top : y2 + margin, left : b + margin].astype(np.float64)
        kernel = (2 * margin + 1, 2 * margin + 1)
        blurred = cv2.GaussianBlur(around, kernel, sigma, sigmaY=sigma, borderType=cv2.BORDER_REPLICATE)
        part = blurred[y1 - top : y2 - top, a - left : b - left]
    if mirror:
        part = part[:, ::-1]
    reads = np.array(((step, 0.0, origin[0] - x1), (0.0, step, origin[1] - y1)))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out[:] = cv2.warpAffine(np.ascontiguousarray(part), reads, (columns, rows), flags=flags)


def _clip(x: float, limit: int) -> int:
    return int(min(max(math.floor(x), 0), limit))


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError(
            "cutting crops needs OpenCV: pip install 'shared_tmu[images]'."
        ) from error
    return cv2
