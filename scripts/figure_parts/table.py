"""The kind of thing that `figures.py` draws: a name, the result files that it is drawn from, and how."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

Pictures = dict[str, NDArray[Any]]
"""BGR pictures by file name, for figures that are no plots."""


@dataclass(frozen=True)
class Figure:
    """A figure of `assets/`.

    Args:
        group: the name by which users ask for it and for others of its kind.
        stem: name of its files, without the suffix.
        about: what it shows, in a line.
        needs: result files that it cannot do without, relative to the folder of results.
        draw: from the folder of results to a figure of matplotlib, or to finished pictures.
        is_picture: whether `draw` gives finished pictures, which have no SVG.
    """

    group: str
    stem: str
    about: str
    needs: tuple[str, ...]
    draw: Callable[[Path], Any]
    is_picture: bool = False

    def lacking(self, folder: Path) -> list[str]:
        """Files that it needs and that are not in `folder`."""
        return [name for name in self.needs if not (folder / name).is_file()]


class Own(NamedTuple):
    """A figure of a user's own results.

    Args:
        stem: name of its files.
        draw: makes the figure.
    """

    stem: str
    draw: Callable[[], Any]
