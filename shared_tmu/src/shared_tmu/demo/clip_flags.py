"""The flags that say how the frames of a clip belong together."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from shared_tmu.demo.smoothing.kinds import SMOOTHERS
from shared_tmu.errors import InputError

_WHY_CLIPS = {
    "hold": "takes over what merged in earlier frames",
    "track": "gives a hand one side in all frames",
    "smooth": "smooths meshes along the frames",
}
"""What flags do that pictures do not allow."""


@dataclass(frozen=True)
class ClipChoice:
    """What these flags were given.

    Attributes:
        hold: whether frames merge what earlier frames merged; None if the method allows it.
        track: whether tracks correct sides and fill gaps; None unless a user gave the boxes.
        smooth: how the motion of tracks is smoothed, one of `SMOOTHERS`; None for not at all.
    """

    hold: bool | None = None
    track: bool | None = None
    smooth: str | None = None

    @classmethod
    def read(cls, given: dict[str, Any], *, is_clip: bool) -> Self:
        """Take the values of these flags out of all that were given.

        Raises:
            InputError: there are some, but the input is pictures.
        """
        if not is_clip:
            _refuse_for_pictures(given)
        return cls(**{one.name: given.pop(one.name) for one in fields(cls)})

    @property
    def delay(self) -> int:
        """Number of later frames that must be there before a frame is complete."""
        return 0 if self.smooth is None else SMOOTHERS[self.smooth]

    def facts(self) -> dict[str, Any]:
        """What the `.json` of a clip says about them."""
        return {f"{one.name}_asked": getattr(self, one.name) for one in fields(self)}


def _refuse_for_pictures(given: Mapping[str, Any]) -> None:
    for flag, why in _WHY_CLIPS.items():
        if given[flag]:
            raise InputError(f"--{flag} {why}, which only --video has.")


def add_clip_flags(parser: argparse.ArgumentParser, many: str) -> None:
    """Add what `ClipChoice.read` reads; `many`: hands or people."""
    add = parser.add_argument_group("frames of a clip").add_argument
    add(
        "--hold",
        action=argparse.BooleanOptionalAction,
        help="a frame that has hardly changed merges what earlier frames merged, so that meshes do not jump; "
        "default: wherever the method allows it",
    )
    add(
        "--track",
        action=argparse.BooleanOptionalAction,
        help=f"{many} keep one side through all frames, and gaps of a few frames are bridged; default: yes, "
        "but boxes of a file stay as they are. Tracks are numbered in any case",
    )
    add(
        "--smooth",
        choices=tuple(SMOOTHERS),
        help="smooth rotations, shape and place along each track: one-euro without delay, for still hands; "
        "savgol with four frames on each side; default: not at all",
    )
