"""The one style of all figures: sizes for print, colours and markers of which either is enough, and files
that are the same each time.

Colours are those of Okabe and Ito (2008), which the colour-blind can tell apart; every line also has its own
marker and dashes, so that a grey print is enough.
"""

import base64
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import MissingDependencyError
from shared_tmu.files import replacing

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#767676"
NEARLY_WHITE = 248
WIDTH = 7.2
"""Inches: the text of a page."""

LINES: dict[str, dict[str, Any]] = {
    "TMU": {"color": BLUE, "marker": "o", "linestyle": "-"},
    "merge-only": {"color": VERMILION, "marker": "^", "linestyle": "--"},
    "protect last": {"color": PURPLE, "marker": "s", "linestyle": "-."},
    "random pairs": {"color": GREEN, "marker": "x", "linestyle": ":"},
    "published": {"color": BLACK, "marker": "D", "linestyle": (0, (5, 2)), "markerfacecolor": "white"},
}
"""By way of merging; the same in every figure."""
CYCLE = [
    {"color": color, "marker": marker, "linestyle": dash}
    for color, marker, dash in zip(
        (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK),
        "o^sDvPX",
        ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), "-"),
        strict=True,
    )
]
"""For lines of other names, in order."""
_EMBEDDED = re.compile(r"data:image/png;base64,([^\"]+)")
_SETTINGS = {
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "figure.titlesize": 9.0,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.0,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#D9D9D9",
    "grid.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "image.cmap": "viridis",
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "svg.hashsalt": "tmu",
    "path.simplify": True,
}


@contextmanager
def styled() -> Iterator[None]:
    """Inside, figures are made and written in this style.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingDependencyError("figures need matplotlib: pip install 'shared_tmu[viz]'.") from error
    with mpl.rc_context({**mpl.rcParamsDefault, **_SETTINGS}):
        yield


def new_figure(height: float, width: float = WIDTH) -> Any:
    """An empty figure, inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def save(figure: Any, stem: Path) -> list[Path]:
    """Write a figure as PNG and SVG, with nothing in it that changes from run to run.

    Args:
        figure: a figure of matplotlib.
        stem: the path without its suffix.
    """
    settle(figure)
    written = []
    for suffix, content in (("png", _as_png(figure)), ("svg", _as_svg(figure))):
        path = stem.parent / f"{stem.name}.{suffix}"
        with replacing(path) as beside:
            beside.write_bytes(content)
        written.append(path)
    return written


def settle(figure: Any) -> None:
    """Lay a figure out until its tick labels, which depend on the layout, no longer change it."""
    for _ in range(2):
        figure.draw_without_rendering()


def _as_png(figure: Any) -> bytes:
    """With 256 colours, a third of the size: like the drawn ones, and dithered where there are pictures."""
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    picture = Image.open(drawn).convert("RGB")
    least = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    if any(image.get_array().ndim == 3 for axes in figure.axes for image in axes.images):
        colours = np.array(least.getpalette()).reshape(-1, 3)
        colours[(colours >= NEARLY_WHITE).all(axis=1)] = 255  # dithering takes any of these for paper
        least.putpalette(colours.ravel().tolist())
        least = picture.quantize(palette=least, dither=Image.Dither.FLOYDSTEINBERG)
    least.save(small, "PNG", optimize=True)
    return small.getvalue()


def _as_svg(figure: Any) -> bytes:
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return _EMBEDDED.sub(_as_jpeg, drawn.getvalue()).encode()


def _as_jpeg(found: re.Match[str]) -> str:
    """A picture inside an SVG as JPEG, if it has no transparent pixels and becomes smaller."""
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(found[1])))
    if picture.convert("RGBA").getextrema()[3] != (255, 255):
        return found[0]
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=88)
    text = base64.b64encode(file.getvalue()).decode()
    return found[0] if len(text) >= len(found[1]) else f"data:image/jpeg;base64,{text}"


def save_pictures(pictures: Mapping[str, NDArray[np.uint8]], folder: Path, quality: int = 88) -> list[Path]:
    """Write BGR pictures below a folder, by name in the format of the suffix; `quality` is for JPEG."""
    import cv2

    for name, picture in pictures.items():
        options = [cv2.IMWRITE_JPEG_QUALITY, quality] if name.endswith(".jpg") else []
        with replacing(folder / name) as beside:
            if not cv2.imwrite(str(beside), picture, options):
                raise OSError(f"OpenCV cannot write {folder / name}.")
    return [folder / name for name in pictures]


def show(axes: Any, picture_rgb: NDArray[np.uint8]) -> None:
    """A picture without axes, as it is in pixels."""
    axes.imshow(picture_rgb, interpolation="lanczos")
    axes.set_axis_off()


def letter(axes: Any, text: str) -> None:
    """A panel's letter, above its left corner."""
    axes.set_title(text, loc="left", fontweight="bold")
