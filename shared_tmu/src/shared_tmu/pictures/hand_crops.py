"""Hand crops: from a picture and a box to the network input of HaMeR and WiLoR.

Convention: pixels, x right, y down, pixel centres at integers; boxes are (x1, y1, x2, y2). Pixel (u, v) of a
crop of size S with side b is the picture at (cx + (u - S/2) * b/S, cy + (v - S/2) * b/S), bilinearly, with
black outside the picture. For a left hand the picture is mirrored first, which moves cx to W
- cx - 1.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared_tmu.errors import InputError, MissingDependencyError

MEAN = (0.485, 0.456, 0.406)
"""Mean of red, green, blue in 0..1 (ImageNet's); an input is normalised as (pixel / 255 - mean) /
deviation.
"""
STD = (0.229, 0.224, 0.225)
"""Standard deviation of red, green, blue in 0..1 (ImageNet's); see `MEAN`."""
ASPECT = (192, 256)
"""Shape (width, height) of the part of the crop that the network sees; boxes are extended to it."""

BLUR_FROM = 1.1  # the picture is blurred if half the number of picture pixels per crop pixel exceeds this
TRUNCATE = 4.0  # standard deviations at which the Gaussian ends
# output rows per matrix product while blurring: more would multiply zeros, fewer would need more calls
ROWS_AT_ONCE = 4
VALUES_AT_ONCE = 8_000_000  # pixels of the picture that are held in float64 while blurring
WIDE = 4  # times as wide as high
OPENCV_LIMIT_PX = 32000  # OpenCV cannot warp a picture with a longer side

MAX_RATIO = 64  # a crop that is wider than this many pictures means a mistake in the box


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

    def to_picture(self, image_size: int) -> NDArray[np.float64]:
        """See `crop_transform`; `image_size` is the side of the crop in the output, pixels."""
        return crop_transform(self.box_center, self.box_size, image_size, self.right)


def crop_transform(
    centre: ArrayLike, side_px: float, image_size: int, right: bool = True
) -> NDArray[np.float64]:
    """The affine map `[2, 3]` from pixels of a crop to pixels of the picture, which mirrors left hands.

    Args:
        centre: (x, y) of the crop in the picture (not mirrored), pixels.
        side_px: side of the square crop in the picture.
        image_size: side of the crop in the output, pixels.
        right: whether this is a right hand.
    """
    x, y = np.asarray(centre, np.float64)
    step, sign = float(side_px) / image_size, 1.0 if right else -1.0
    return np.array(((sign * step, 0.0, x - sign * side_px / 2), (0.0, step, y - side_px / 2)))


def crop_square(
    box_xyxy: ArrayLike, rescale_factor: float = 2.0, aspect: tuple[int, int] | None = ASPECT
) -> tuple[tuple[float, float], float]:
    """Find the square crop around a box.

    Args:
        box_xyxy: (x1, y1, x2, y2), pixels.
        rescale_factor: factor by which the box is enlarged; -1 for none (as for the published evaluation
            lists).
        aspect: (width, height) shape to which the box is then extended; None keeps its shape. The longer side
            becomes the side of the square.

    Returns:
        Centre (x, y) and side, pixels.

    Raises:
        InputError: the box is not four finite numbers, or has no area.
    """
    box = np.asarray(box_xyxy, dtype=np.float64)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise InputError(f"a box must be four finite numbers x1, y1, x2, y2 in pixels, found {box_xyxy!r}.")
    x1, y1, x2, y2 = (float(x) for x in box)
    if x2 <= x1 or y2 <= y1:
        raise InputError(f"box {[x1, y1, x2, y2]} has no area: expected x1 < x2 and y1 < y2.")
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
    """Crop a hand from a picture like the published demos or, with other options, like the published
    evaluations.

    Demo: the defaults. FreiHAND and HO3D lists: `rescale_factor=-1, antialias=False`. HInt lists:
    `antialias=False, aspect=None`.

    Args:
        image_bgr: the picture as OpenCV loads it, uint8 `[H, W, 3]`.
        box_xyxy: the hand's box, pixels; may extend beyond the picture, where everything is black.
        right: False mirrors the crop, so that the network always sees right hands.
        rescale_factor: see `crop_square`.
        image_size: side of the crop in the output, pixels.
        antialias: blur first if one output pixel covers more than 2.2 picture pixels.
        aspect: see `crop_square`.

    Raises:
        InputError: the picture is not uint8 `[H, W, 3]`, or the box has no area or is far larger than the
            picture.
    """
    if image_bgr.dtype != np.uint8 or image_bgr.ndim != 3 or image_bgr.shape[2] != 3 or image_bgr.size == 0:
        raise InputError(
            f"a picture to crop must be uint8 [H, W, 3], found {image_bgr.dtype} {list(image_bgr.shape)}."
        )
    centre, side = crop_square(box_xyxy, rescale_factor, aspect)
    height, width = image_bgr.shape[:2]
    step = side / image_size  # picture pixels per crop pixel
    cx, cy = (centre[0] if right else width - centre[0] - 1), centre[1]
    origin = (cx - side / 2, cy - side / 2)
    sigma = (step / 2 - 1) / 2 if antialias and step / 2 > BLUR_FROM else 0.0
    if side > MAX_RATIO * max(height, width):
        raise InputError(
            f"the crop around box {box_xyxy!r} would be {side:.0f} px wide, more than {MAX_RATIO} times "
            f"a picture of {width}x{height}."
        )
    pixels: NDArray[np.generic]
    if max(origin) >= max(height, width) or min(origin) + side < -1:
        pixels = np.zeros((image_size, image_size, 3), np.uint8)  # the crop misses the picture
    elif sigma > 0 or side > OPENCV_LIMIT_PX:
        pixels = _blur_and_warp(image_bgr, origin, step, image_size, sigma, mirror=not right)
    else:
        pixels = _warp(image_bgr, origin, step, image_size, mirror=not right)
    scale = 255.0 * np.array(STD)
    rgb = (pixels[..., ::-1].astype(np.float64) - 255.0 * np.array(MEAN)) / scale
    return HandCrop(
        img=np.ascontiguousarray(rgb.transpose(2, 0, 1), dtype=np.float32),
        box_center=np.array(centre, dtype=np.float32),
        box_size=side,
        img_size=np.array((width, height), dtype=np.float32),
        right=bool(right),
    )


def _warp(
    image: NDArray[np.uint8], origin: tuple[float, float], step: float, size: int, mirror: bool
) -> NDArray[np.uint8]:
    """Sample the (mirrored) picture bilinearly with OpenCV, rounding to uint8: `[size, size, 3]`."""
    cv2 = require_opencv()
    height, width = image.shape[:2]
    x1, x2 = (_clip(origin[0] + offset, width) for offset in (-1, size * step + 3))
    y1, y2 = (_clip(origin[1] + offset, height) for offset in (-1, size * step + 3))
    if x1 == x2 or y1 == y2:
        return np.zeros((size, size, 3), np.uint8)
    part = image[y1:y2, width - x2 : width - x1][:, ::-1] if mirror else image[y1:y2, x1:x2]
    reads = np.array(((step, 0.0, origin[0] - x1), (0.0, step, origin[1] - y1)))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped: NDArray[np.uint8] = cv2.warpAffine(np.ascontiguousarray(part), reads, (size, size), flags=flags)
    return warped


def _blur_and_warp(
    image: NDArray[np.uint8], origin: tuple[float, float], step: float, size: int, sigma: float, mirror: bool
) -> NDArray[np.float64]:
    """Blur the picture, mirror it, and sample it bilinearly, in float64: `[size, size, 3]`.

    Blurring and sampling are linear and separable, so only the rows and columns that the crop reads are
    computed: the result is the same as after blurring the whole picture, in a fraction of the time and
    memory.
    """
    height, width = image.shape[:2]
    rows, row_weights = taps_along(origin[1], step, size, sigma, height)
    columns, column_weights = taps_along(origin[0], step, size, sigma, width)
    if mirror:
        columns = width - 1 - columns
    (top, bottom), (left, right) = ((int(taps.min()), int(taps.max()) + 1) for taps in (rows, columns))
    part = image[top:bottom, left:right]
    if right - left > WIDE * (bottom - top):  # the other order needs much memory for the intermediate result
        lines = combine(part.transpose(1, 0, 2), columns - left, column_weights)  # [size, bottom - top, 3]
        return combine(lines.transpose(1, 0, 2), rows - top, row_weights)
    lines = combine(part, rows - top, row_weights)  # [size, right - left, 3]
    return combine(lines.transpose(1, 0, 2), columns - left, column_weights).transpose(1, 0, 2)


def combine(
    source: NDArray[np.generic], indices: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Add up weighted rows of `source` `[L, M, 3]`; `indices` and `weights` are `[size, K]`."""
    size = len(indices)
    block = max(1, VALUES_AT_ONCE // max(1, source[:1].size))
    out = np.zeros((size, *source.shape[1:]))
    for start in range(0, size, ROWS_AT_ONCE):
        chunk = slice(start, start + ROWS_AT_ONCE)
        first, last = int(indices[chunk].min()), int(indices[chunk].max()) + 1
        matrix = np.zeros((len(out[chunk]), last - first))
        np.add.at(matrix, (np.arange(len(matrix))[:, None], indices[chunk] - first), weights[chunk])
        for row in range(first, last, block):
            rows = slice(row, min(row + block, last))
            part = matrix[:, row - first : row - first + block]
            out[chunk] += np.tensordot(part, source[rows].astype(np.float64), axes=1)
    return out


def taps_along(
    start: float, step: float, size: int, sigma: float, limit: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """List the picture indices and weights that each output position reads along one axis, `[size, K]`.

    Convention: positions are rounded to 1/32 pixel, as in OpenCV; the Gaussian repeats the picture's edge
    (nearest) and ends at `TRUNCATE` sigma; the bilinear sampling after it is black outside the picture.
    """
    offsets = np.rint(np.arange(size) * step * 1024).astype(np.int64)
    lattice = (offsets + round(min(max(start, -1e9), 1e9) * 1024) + 16) >> 5
    whole, fraction = lattice >> 5, (lattice & 31) / 32.0
    radius = int(TRUNCATE * sigma + 0.5)
    k = np.arange(-radius, radius + 1)
    gauss = np.exp(-0.5 * (k / sigma) ** 2) if sigma > 0 else np.ones(1)
    gauss /= gauss.sum()
    near = (1 - fraction) * ((whole >= 0) & (whole < limit))
    far = fraction * ((whole + 1 >= 0) & (whole + 1 < limit))
    weights = near[:, None] * np.append(gauss, 0.0) + far[:, None] * np.append(0.0, gauss)
    indices = whole[:, None] + np.arange(-radius, radius + 2)
    return np.clip(indices, 0, limit - 1), weights


def _clip(x: float, limit: int) -> int:
    return int(min(max(math.floor(x), 0), limit))


def require_opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError(
            "cutting crops needs OpenCV: pip install 'shared_tmu[images]'."
        ) from error
    return cv2
