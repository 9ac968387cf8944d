"""Person crops: from a picture and a box to the network input of SMPLest-X, and its camera in the picture.

Convention: pixels, x right, y down, pixel centres at integers; boxes are (x1, y1, x2, y2), crops (x, y,
width, height). Pixel (u, v) of a crop with h x w output pixels is the picture at (x + u * width / w, y + v *
height / h), bilinearly, with black outside the picture.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared_tmu.errors import InputError
from shared_tmu.pictures.hand_crops import MAX_RATIO, require_opencv

NETWORK_SIZE = (256, 192)
"""Height and width of SMPLest-X's input: every second row and column of the published 512 x 384 crop."""

PART_PX = 8_000_000
"""Number of pixels that are sampled at a time, of 12 bytes each."""

LONGEST_PART_PX = 30_000
"""OpenCV cannot sample a picture with a side of 32767 or more."""

BBOX_RATIO = 1.2
"""Factor by which a person's box is enlarged in width and height."""


@dataclass(frozen=True, eq=False)
class BodyCrop:
    """One network input and where it came from.

    Attributes:
        img: RGB in 0..1, float32 `[3, h, w]`.
        crop_xywh: the crop in the picture (x, y, width, height), pixels, float32 `[4]`.
        img_size: (width, height) of the picture, pixels, float32 `[2]`.
        size: height and width of `img`, also if `img` has been dropped to save memory.
    """

    img: NDArray[np.float32]
    crop_xywh: NDArray[np.float32]
    img_size: NDArray[np.float32]
    size: tuple[int, int]

    @property
    def to_picture(self) -> NDArray[np.float64]:
        """See `crop_transform`."""
        return crop_transform(self.crop_xywh, self.size)


def person_crop(
    box_xyxy: ArrayLike,
    img_size: tuple[int, int],
    ratio: float = BBOX_RATIO,
    aspect: tuple[int, int] = NETWORK_SIZE,
) -> NDArray[np.float32]:
    """Find the crop around a person's box: the box is brought into the picture, extended to the crop's shape,
    then enlarged by `ratio`.

    As published, a box that begins left of the picture or above it is moved into it, and one that ends beyond
    the right or lower edge is cut.

    Args:
        box_xyxy: (x1, y1, x2, y2), pixels.
        img_size: (width, height) of the picture, pixels.
        ratio: factor by which width and height are enlarged.
        aspect: height and width of the crop's shape.

    Returns:
        (x, y, width, height), pixels, float32 `[4]`; may extend beyond the picture.

    Raises:
        InputError: the box is not four finite numbers, or has no area inside the picture.
    """
    box = np.asarray(box_xyxy, dtype=np.float64)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise InputError(f"a box must be four finite numbers x1, y1, x2, y2 in pixels, found {box_xyxy!r}.")
    if not (np.isfinite(ratio) and ratio > 0):
        raise InputError(f"the ratio by which boxes grow must be positive, found {ratio}.")
    x1, y1 = max(0.0, float(box[0])), max(0.0, float(box[1]))
    x2 = min(img_size[0] - 1.0, x1 + max(0.0, float(box[2] - box[0]) - 1))
    y2 = min(img_size[1] - 1.0, y1 + max(0.0, float(box[3] - box[1]) - 1))
    if x2 <= x1 or y2 <= y1:
        raise InputError(
            f"box {box.tolist()} has no area inside a picture of {img_size[0]}x{img_size[1]} pixels."
        )
    width, height = x2 - x1, y2 - y1
    cx, cy = x1 + width / 2, y1 + height / 2
    shape = aspect[1] / aspect[0]
    width, height = ratio * max(width, height * shape), ratio * max(height, width / shape)
    return np.array((cx - width / 2, cy - height / 2, width, height), dtype=np.float32)


def body_crop(
    image_bgr: NDArray[np.uint8],
    box_xyxy: ArrayLike,
    ratio: float = BBOX_RATIO,
    size: tuple[int, int] = NETWORK_SIZE,
) -> BodyCrop:
    """Crop a person from a picture like the published preprocessing, without blur or normalisation.

    Args:
        image_bgr: the picture as OpenCV loads it, uint8 `[H, W, 3]`.
        box_xyxy: the person's box, pixels.
        ratio: see `person_crop`.
        size: height and width of the output. The published crop is 512 x 384, and the model uses every second
            row and column of it; the default computes only these.

    Raises:
        InputError: the picture is not uint8 `[H, W, 3]`; also as in `person_crop`.
    """
    if image_bgr.dtype != np.uint8 or image_bgr.ndim != 3 or image_bgr.shape[2] != 3 or image_bgr.size == 0:
        raise InputError(
            f"a picture to crop must be uint8 [H, W, 3], found {image_bgr.dtype} {list(image_bgr.shape)}."
        )
    height, width = image_bgr.shape[:2]
    crop = person_crop(box_xyxy, (width, height), ratio, size)
    if max(crop[2:]) > MAX_RATIO * max(height, width):
        raise InputError(
            f"the crop around box {box_xyxy!r} would be {max(crop[2:]):.0f} px wide, more than {MAX_RATIO} "
            f"times a picture of {width}x{height}."
        )
    rgb = _warp(image_bgr, crop, size)[..., ::-1]
    return BodyCrop(
        img=np.ascontiguousarray(rgb.transpose(2, 0, 1), dtype=np.float32) / np.float32(255),
        crop_xywh=crop,
        img_size=np.array((width, height), dtype=np.float32),
        size=size,
    )


def crop_transform(crop_xywh: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
    """The affine map `[2, 3]` from pixels of a crop of height and width `size` to pixels of the picture."""
    x, y, width, height = np.asarray(crop_xywh, dtype=np.float64)
    return np.array(((width / size[1], 0.0, x), (0.0, height / size[0], y)))


def full_image_camera(
    crop_xywh: ArrayLike,
    focal_px: tuple[float, float],
    princpt_px: tuple[float, float],
    size: tuple[int, int],
) -> NDArray[np.float64]:
    """Convert a crop's camera to one of the whole picture.

    Args:
        crop_xywh: the crop in the picture, `[..., 4]`.
        focal_px: focal length (x, y) for a crop of `size`.
        princpt_px: its principal point (x, y).
        size: height and width of the crop.

    Returns:
        Camera matrices `[..., 3, 3]` that project the same points, not moved, into the picture.
    """
    x, y, width, height = np.moveaxis(np.asarray(crop_xywh, dtype=np.float64), -1, 0)
    matrix = np.zeros((*x.shape, 3, 3))
    matrix[..., 0, 0], matrix[..., 1, 1] = focal_px[0] / size[1] * width, focal_px[1] / size[0] * height
    matrix[..., 0, 2] = princpt_px[0] / size[1] * width + x
    matrix[..., 1, 2] = princpt_px[1] / size[0] * height + y
    matrix[..., 2, 2] = 1.0
    return matrix


def _warp(
    image: NDArray[np.uint8], crop_xywh: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Sample the picture bilinearly in float32, without rounding to integers: `[h, w, 3]` in 0..255."""
    reads = crop_transform(crop_xywh, size)
    step_x, step_y = (max(float(reads[axis, axis]), 1e-9) for axis in (0, 1))
    columns = max(1, min(size[1], int(LONGEST_PART_PX / step_x)))
    rows = max(1, min(size[0], int(PART_PX / (columns * step_x * step_y)), int(LONGEST_PART_PX / step_y)))
    warped = np.empty((*size, 3), np.float32)
    for top in range(0, size[0], rows):
        for left in range(0, size[1], columns):
            block = warped[top : top + rows, left : left + columns]
            moved = reads.copy()
            moved[:, 2] += reads[:, :2] @ np.array((left, top))
            block[:] = _warp_block(image, moved, block.shape[:2])
    return warped


def _warp_block(
    image: NDArray[np.uint8], reads: NDArray[np.float64], size: tuple[int, ...]
) -> NDArray[np.float32]:
    """Sample `size` (rows, columns) pixels with OpenCV; `reads` `[2, 3]` maps each to its position in the
    picture.
    """
    cv2 = require_opencv()
    origin, corner = reads[:, 2], reads @ np.array((size[1], size[0], 1.0))
    (x1, y1), (x2, y2) = (
        np.clip(np.floor(ends).astype(int), 0, image.shape[1::-1]) for ends in (origin - 1, corner + 3)
    )
    if x1 >= x2 or y1 >= y2:
        return np.zeros((*size, 3), np.float32)
    part = np.ascontiguousarray(
        image[y1:y2, x1:x2], dtype=np.float32
    )  # only the part that is read: pictures are large
    inside = reads - np.array(((0, 0, x1), (0, 0, y1)))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped: NDArray[np.float32] = cv2.warpAffine(part, inside, (size[1], size[0]), flags=flags)
    return warped
