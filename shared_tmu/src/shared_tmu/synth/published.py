"""Compares a generated evaluation set of version 2 or later with the published one.

Pictures are drawn from integer seeds, so that they are the same on every machine up to rounding: other
processors round differently, and a JPEG may differ in its last bits. The mean grey levels of 4x4 blocks of a
picture hardly change with that, and change by far more if a scene is another one.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError
from shared_tmu.files import replacing

PUBLISHED = Path(__file__).parents[1] / "assets" / "eval_sets.npz"
BLOCKS = 4  # per side of a picture
TOLERANCE = 3.0  # grey levels; rounding moves a block's mean by less than one
Grey = NDArray[np.uint8]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of the pictures of a set.

    Attributes:
        grey: mean grey levels of blocks, uint8 `[N, 4, 4]`.
        digest: first 8 bytes of the SHA-256 of each picture's file, uint8 `[N, 8]`.
    """

    grey: Grey
    digest: NDArray[np.uint8]


def fingerprint(pictures: Sequence[Path]) -> Fingerprint:
    """Of JPEG pictures, in their order."""
    greys, digests = [], []
    for data in _contents(pictures):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        greys.append(cv2.resize(image, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA))
        digests.append(np.frombuffer(hashlib.sha256(data).digest()[:8], np.uint8))
    return Fingerprint(np.stack(greys).astype(np.uint8), np.stack(digests))


def _contents(pictures: Sequence[Path]) -> Iterator[bytes]:
    for path in pictures:
        yield path.read_bytes()


def published(name: str) -> Fingerprint:
    """The fingerprint of a published set, such as `"synthhand-eval-2"`."""
    with np.load(PUBLISHED, allow_pickle=False) as arrays:
        return Fingerprint(arrays[f"{name}/grey"], arrays[f"{name}/digest"])


def publish(name: str, pictures: Sequence[Path]) -> None:
    """Keep the fingerprint of a set for `check_published`, beside those of other sets."""
    kept: dict[str, NDArray[np.uint8]] = {}
    if PUBLISHED.exists():
        with np.load(PUBLISHED, allow_pickle=False) as arrays:
            kept |= {key: arrays[key] for key in arrays.files}
    found = fingerprint(pictures)
    kept |= {f"{name}/grey": found.grey, f"{name}/digest": found.digest}
    with replacing(PUBLISHED) as beside, beside.open("wb") as file:
        np.savez_compressed(file, **{key: kept[key] for key in sorted(kept)})


def check_published(name: str, title: str, pictures: Sequence[Path]) -> None:
    """Refuse a set whose pictures are not those of the published tables.

    Logs whether they are the same to the last bit.

    Args:
        name: of the published set.
        title: what messages call it.
        pictures: its first pictures, in order; not more than were published.

    Raises:
        InputError: a picture shows another scene than the published one.
    """
    want, found = published(name), fingerprint(pictures)
    count = len(pictures)
    apart = np.abs(found.grey.astype(float) - want.grey[:count]).max((1, 2))
    if (apart > TOLERANCE).any():
        first = int(np.argmax(apart > TOLERANCE))
        raise InputError(
            f"{title}: {int((apart > TOLERANCE).sum())} of {count} pictures differ from the published set, "
            f"the first is {pictures[first].name} (by {apart[first]:.0f} grey levels). Figures on it "
            "cannot be compared with the tables. Install the versions in constraints.txt (numpy and scipy "
            "draw the random numbers), and run again."
        )
    same = int((found.digest == want.digest[:count]).all(1).sum())
    if same == count:
        _log.info("%s: the published pictures, bit for bit.", title)
    else:
        _log.info(
            "%s: the published scenes; %d of %d pictures are equal bit for bit, the others differ by "
            "rounding. Errors may differ from the tables by about 0.1 mm at strong schedules.",
            title,
            same,
            count,
        )
