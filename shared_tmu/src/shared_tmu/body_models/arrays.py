"""Arrays of body-model files: read from `.npz` or pickle without running code, and checked one by one."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models.array_pickle import read_array_pickle
from shared_tmu.errors import BodyModelError, MissingAssetError


def read_arrays(path: Path, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Read the arrays of a `.npz`, or of a pickle of any other name.

    Args:
        path: the file.
        names: the arrays that are wanted, where present; official files hold objects beside them, which this
            leaves alone. None takes all of them.

    Raises:
        MissingAssetError: there is no such file.
        BodyModelError: the file is damaged, or holds anything but arrays.
    """
    content = _read_npz(path, names) if path.suffix.lower() == ".npz" else read_array_pickle(path)
    return content if names is None else {name: content[name] for name in names if name in content}


def take_array(
    arrays: Mapping[str, Any],
    key: str,
    shape: tuple[int, ...],
    source: str,
    kind: str,
    dtype: Any = np.float64,
) -> NDArray[Any]:
    """Return one array of a file, checked and converted.

    Args:
        arrays: what the file holds.
        key: its name there.
        shape: the shape it must have.
        source: the file, for messages.
        kind: what the file should be, for messages: "a MANO hand model".
        dtype: of the result, a copy; None keeps floating-point numbers of at least 32 bits as they are.

    Raises:
        BodyModelError: it is missing, of another shape, no array of numbers, or holds NaN or infinity.
    """
    if key not in arrays:
        found = ", ".join(sorted(map(str, arrays))) or "nothing"
        raise BodyModelError(f"{source} has no '{key}', which {kind} needs; it holds {found}.")
    value = arrays[key]
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        raise BodyModelError(f"{source}: '{key}' is not an array of numbers but {type(value).__name__}.")
    if value.shape != shape:
        raise BodyModelError(f"{source}: '{key}' has shape {value.shape}, {kind} has {shape}.")
    if not np.isfinite(value).all():
        raise BodyModelError(f"{source}: '{key}' holds NaN or infinity.")
    if dtype is None:
        return np.ascontiguousarray(value, dtype=np.result_type(value, np.float32))
    return np.array(value, dtype=dtype, order="C")


def _read_npz(path: Path, names: Iterable[str] | None) -> dict[str, Any]:
    if not path.is_file():
        raise MissingAssetError(f"{path.name} is not in {path.parent}.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            wanted = archive.files if names is None else [name for name in names if name in archive.files]
            return {name: archive[name] for name in wanted}
    except (ValueError, OSError, EOFError, TypeError) as error:
        raise BodyModelError(
            f"{path} cannot be read as an .npz of plain arrays ({error}); objects inside are refused, "
            "since loading them would execute code."
        ) from error
    except Exception as error:  # zipfile and zlib errors have no common base
        raise BodyModelError(f"{path} is damaged: {error}.") from error
