"""Pictures in archives: the IDX files of MNIST and Fashion-MNIST, and scikit-learn's digits."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError
from shared_tmu.files import read_limited

_MOST_BYTES = 1 << 30
_MAGIC = {1: b"\x00\x00\x08\x01", 3: b"\x00\x00\x08\x03"}
"""First bytes of a file of bytes, by its number of dimensions."""
DIGITS_FILE = "datasets/data/digits.csv.gz"
_DIGITS_LEVELS = 16
_EVERY = 5  # one in so many digits is for testing


@dataclass(frozen=True, eq=False)
class ArrayPictures:
    """Grey pictures `[N, H, W]`."""

    grey: NDArray[np.uint8]

    def read(self, index: int) -> NDArray[np.uint8]:
        """See `labelled.Pictures`."""
        return np.repeat(self.grey[index][:, :, None], 3, axis=2)

    def digest(self) -> str:
        """Of all pictures."""
        return hashlib.sha256(np.ascontiguousarray(self.grey).tobytes()).hexdigest()


@dataclass(frozen=True)
class IdxFiles:
    """Two files of such a set, with or without `.gz`.

    Attributes:
        folder: where they are.
        prefix: `train` or `t10k`.
    """

    folder: Path
    prefix: str

    @staticmethod
    def are_in(folder: Path) -> bool:
        """Whether a folder has them."""
        return any((folder / f"t10k-images-idx3-ubyte{end}").is_file() for end in ("", ".gz"))

    @property
    def images(self) -> Path:
        """The file of the pictures."""
        return self._find("images-idx3-ubyte")

    def read(self) -> tuple[ArrayPictures, tuple[int, ...]]:
        """Pictures, and the number of each one's class.

        Raises:
            MissingAssetError: a file is missing.
            InputError: a file is damaged, or they do not belong together.
        """
        grey, labels = read_idx(self.images, 3), read_idx(self._find("labels-idx1-ubyte"), 1)
        if len(grey) != len(labels) or not len(labels):
            raise InputError(
                f"{self.folder} has {len(grey)} pictures of {self.prefix}, but {len(labels)} labels: copy "
                "its files again."
            )
        return ArrayPictures(grey), tuple(labels.tolist())

    def _find(self, kind: str) -> Path:
        plain = self.folder / f"{self.prefix}-{kind}"
        return plain if plain.is_file() else plain.with_name(f"{plain.name}.gz")


def read_idx(path: Path, dims: int) -> NDArray[np.uint8]:
    """An IDX file of bytes with this number of dimensions.

    Raises:
        MissingAssetError: there is no such file.
        InputError: it is damaged, or another file.
    """
    content = _unpacked(path)
    head = 4 + 4 * dims
    shape = [int.from_bytes(content[4 + 4 * k : 8 + 4 * k], "big") for k in range(dims)]
    if content[:4] != _MAGIC[dims] or len(content) != head + int(np.prod(shape, dtype=object)):
        raise InputError(f"{path} is damaged, or no IDX file with {dims} dimensions: copy it again.")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def _unpacked(path: Path) -> bytes:
    content = read_limited(path, _MOST_BYTES, InputError, "It belongs to the set's four files.")
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        with gzip.open(io.BytesIO(content)) as file:
            found = file.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged ({error}): copy it again.") from error
    if len(found) > _MOST_BYTES:
        raise InputError(f"{path} holds more than {_MOST_BYTES:,} bytes.")
    return found


def read_digits(path: Path, split: str) -> tuple[ArrayPictures, tuple[int, ...], list[int]]:
    """scikit-learn's 8x8 digits: every fifth for testing, the others to learn from.

    Returns:
        Pictures, classes, and numbers in the file.

    Raises:
        InputError: it is damaged.
    """
    try:
        rows = np.array(list(csv.reader(_unpacked(path).decode().splitlines())), dtype=np.float64)
        values, labels = rows[:, :64].reshape(-1, 8, 8), rows[:, 64].astype(int)
    except (ValueError, IndexError) as error:
        raise InputError(f"{path} is damaged ({error}): install scikit-learn again.") from error
    grey = np.round(values * (255 / _DIGITS_LEVELS)).clip(0, 255).astype(np.uint8)
    chosen = [k for k in range(len(labels)) if (k % _EVERY == 0) == (split != "train")]
    return ArrayPictures(grey[chosen]), tuple(labels[chosen].tolist()), chosen
