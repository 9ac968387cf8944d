"""How similar the layers of a model are (linear CKA), as a map and between neighbours."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from bundled import BUNDLED

from figure_parts.style import BLUE, VERMILION, letter, new_figure
from figure_parts.table import Figure
from shared_tmu.errors import InputError


def draw(record: Mapping[str, Any]) -> Any:
    """The CKA between all layers, and between neighbours and with the last layer.

    Args:
        record: has `model`, `dataset`, `n`, `tokens` and `cka`, a list of rows.
    """
    matrix = np.array(record["cka"])
    depth = len(matrix)
    figure = new_figure(3.1)
    figure.suptitle(
        f"{record['model']}: {record['tokens']:,} tokens of {record['n']} pictures of {record['dataset']}"
    )
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    edges = (0.5, depth + 0.5)
    shown = left.imshow(
        matrix, origin="lower", vmin=0, vmax=1, extent=(*edges, *edges), interpolation="nearest"
    )
    left.grid(visible=False)
    figure.colorbar(shown, ax=left, shrink=0.9)
    left.set(xlabel="layer", ylabel="layer")
    places = np.arange(1, depth + 1)
    pairs = {"marker": "o", "linestyle": "-", "color": BLUE, "markersize": 3}
    last = {"marker": "^", "linestyle": "--", "color": VERMILION, "markersize": 3}
    right.plot(places[:-1] + 0.5, matrix.diagonal(1), label="with the next layer", **pairs)
    right.plot(places, matrix[-1], label="with the last layer", **last)
    right.set_ylim(min(0.0, float(matrix.min())), 1.04)
    right.set(xlabel="layer", ylabel="linear CKA")
    right.legend(loc="lower right")
    letter(left, "a  all pairs of layers")
    letter(right, "b  with one layer")
    return figure


def read(path: Path) -> dict[str, Any] | None:
    """A record of `measure_cka.py`; None if the file is some other JSON, or none.

    Raises:
        InputError: it cannot be read, or is such a record and cannot be drawn.
    """
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("kind") != "cka":
        return None
    try:
        matrix = np.array(found["cka"], np.float64)
        is_square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] > 1
        is_good = is_square and bool(np.isfinite(matrix).all())
        is_good &= all(isinstance(found[name], int) for name in ("n", "tokens"))
        is_good &= all(isinstance(found[name], str) for name in ("model", "dataset"))
    except (KeyError, TypeError, ValueError):
        is_good = False
    if not is_good:
        raise InputError(f"{path} is not a whole record of measure_cka.py: measure it again.")
    return found


def _draw_file(path: Path) -> Any:
    record = read(path)
    if record is None:
        raise InputError(f"{path} is not a record of measure_cka.py: measure it again.")
    return draw(record)


def rows() -> list[Figure]:
    """A figure for each bundled model."""
    found = []
    for model in BUNDLED.values():
        name = f"{model.stem}_cka.json"
        about = f"{model.name}: linear CKA between its layers"
        draw_one = lambda folder, name=name: _draw_file(folder / name)  # noqa: E731
        found.append(Figure("cka", f"{model.stem}_cka", about, (name,), draw_one))
    return found
