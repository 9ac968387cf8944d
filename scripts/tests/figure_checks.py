"""What every figure keeps: PNG and SVG, the same files each time, and no label cut off."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from figure_parts import style
from matplotlib.text import Text

LEAST_PT = 6.0
"""The smallest letters that can be read in print."""
TOLERANCE_IN = 0.01


def clipped(figure: Any) -> list[str]:
    """What reaches over the edge of a figure, and texts that are too small to read."""
    style.settle(figure)
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    over = {"left": -drawn.x0, "right": drawn.x1 - width, "below": -drawn.y0, "above": drawn.y1 - height}
    found = [f"{inches:.2f} inches {side}" for side, inches in over.items() if inches > TOLERANCE_IN]
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    return found + [text.get_text() for text in texts if text.get_fontsize() < LEAST_PT]


def check_saved(make: Callable[[], Any], folder: Path) -> None:
    """Make and save a figure twice: PNG and SVG, both times the same bytes."""
    first = [path.read_bytes() for path in style.save(make(), folder / "a")]
    again = [path.read_bytes() for path in style.save(make(), folder / "b")]
    assert first == again
    assert first[0].startswith(b"\x89PNG")
    assert b"</svg>" in first[1]
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "a.svg", "b.png", "b.svg"]
