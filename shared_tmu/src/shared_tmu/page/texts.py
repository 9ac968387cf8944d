"""The words of the page, as HTML; everything that a user can have named is escaped."""

from __future__ import annotations

from html import escape

from shared_tmu.page.catalog import Entry
from shared_tmu.page.estimate import Display

TITLE = "Token Merge with Unmerge"
INTRO = (
    "Similar image tokens merge inside the transformer, so that it computes less; after the last block every "
    "token gets its group's feature back. Move the slider and see what this changes, and what it saves."
)
BUNDLED = (
    "The bundled models are small and have seen only renders of a procedural hand and body: on photographs "
    "their meshes are rough. Pictures stay on the machine that runs this page."
)


CHOOSE = "Choose a sample, drop a picture, or take one with the camera."
SLIDER_INFO = "0 is the unpatched model (off). At the right end almost all tokens have merged."


def slider_label(layers: int) -> str:
    """What the slider sets."""
    return f"Tokens merged in each of the first {layers} blocks"


def heading(text: str) -> str:
    """Of a part of the page."""
    return f'<h2 class="tmu-heading">{escape(text)}</h2>'


def report(entry: Entry, shown: Display) -> str:
    """Tokens, times and what was found."""
    one, many = entry.program.estimates.one, entry.program.estimates.many
    tokens = _tile("Tokens", f"{shown.left} of {shown.tokens}", f"schedule {shown.schedule}")
    if shown.speed is None:
        tell = (
            f"No {many} were found. Choose another picture, or say below the model that the whole picture "
            f"shows one {one}."
        )
        return f'<div class="tmu-report" role="status"><p class="tmu-note">{escape(tell)}</p></div>'
    speed = shown.speed
    tiles = [
        tokens,
        _tile(f"Time per {one}", f"{speed.merged_ms:.1f} ms", f"{speed.off_ms:.1f} ms when off"),
        _tile("Speed-up", f"{speed.speedup:.2f}x", f"half of the rounds: {_range(speed.quartiles)}"),
    ]
    if shown.moved_mm:
        mean = sum(shown.moved_mm) / len(shown.moved_mm)
        tiles.append(_tile("Vertices moved", f"{mean:.1f} mm", "compared with off"))
    rows = "".join(_row(entry, shown, index) for index in range(len(shown.items)))
    head = "".join(f'<th scope="col">{name}</th>' for name in (one.capitalize(), "Score", "Vertices moved"))
    table = f'<table class="tmu-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="tmu-report" role="status"><div class="tmu-tiles">{"".join(tiles)}</div>{table}</div>'


def problem(error: object) -> str:
    """What went wrong, in one sentence."""
    text = escape(str(error))
    return f'<div class="tmu-report"><p class="tmu-problem" role="alert">{text}</p></div>'


def waiting(sentence: str) -> str:
    """What to do before there is anything to show."""
    return f'<div class="tmu-report" role="status"><p class="tmu-note">{escape(sentence)}</p></div>'


def _tile(name: str, value: str, note: str) -> str:
    return (
        f'<div class="tmu-tile"><span class="tmu-name">{escape(name)}</span>'
        f'<span class="tmu-value">{escape(value)}</span><span class="tmu-small">{escape(note)}</span></div>'
    )


def _row(entry: Entry, shown: Display, index: int) -> str:
    item = shown.items[index]
    side = getattr(item, "is_right", None)
    kind = entry.program.estimates.one
    name = kind if side is None else f"{'right' if side else 'left'} {kind}"
    moved = f"{shown.moved_mm[index]:.1f} mm" if shown.moved_mm else "not known"
    cells = f"<td>{item.score:.2f}</td><td>{moved}</td>"
    return f'<tr><th scope="row">{index + 1}: {name}</th>{cells}</tr>'


def _range(quartiles: tuple[float, float]) -> str:
    return f"{quartiles[0]:.2f} to {quartiles[1]:.2f}x"
