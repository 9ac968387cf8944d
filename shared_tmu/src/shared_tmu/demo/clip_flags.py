"""The flags that say how the frames of a clip belong together."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from shared_tmu.errors import InputError
from shared_tmu.programs.flags import positive
from shared_tmu.temporal.smoothing.kinds import SMOOTHERS

GIVEN = ("boxes", "whole-image")
"""Detectors whose boxes are what a user said, so that nothing is corrected unless that is asked for."""
DIFFUSION = "diffusion"

_WHY_CLIPS = {
    "hold": "takes over what merged in earlier frames",
    "track": "gives a hand one side in all frames",
    "smooth": "smooths meshes along the frames",
    "detect_every": "leaves out frames",
    "decoder": "reads all frames of a track",
}
"""What flags do that pictures do not allow."""


@dataclass(frozen=True)
class ClipChoice:
    """What these flags were given.

    Attributes:
        hold: whether frames merge what earlier frames merged; None if the method allows it.
        track: whether tracks correct sides and fill gaps; None unless a user gave the boxes.
        detect_every: the detector runs on one of so many frames; in between, boxes follow the meshes.
        smooth: how the motion of tracks is smoothed, one of `SMOOTHERS`; None for not at all.
        decoder: `diffusion` for poses from the temporal decoder; None for the head's.
    """

    hold: bool | None = None
    track: bool | None = None
    detect_every: int = 1
    smooth: str | None = None
    decoder: str | None = None

    @classmethod
    def read(cls, given: dict[str, Any], *, is_clip: bool) -> Self:
        """Take the values of these flags out of all that were given.

        Raises:
            InputError: there are some, but the input is pictures; or they contradict others.
        """
        if not is_clip:
            _refuse_for_pictures(given)
        _refuse_gaps(given)
        return cls(**{one.name: given.pop(one.name) for one in fields(cls)})

    @property
    def smoothing_delay(self) -> int:
        """Number of later frames that smoothing needs."""
        return 0 if self.smooth is None else SMOOTHERS[self.smooth]

    def facts(self) -> dict[str, Any]:
        """What the `.json` of a clip says about them."""
        return {f"{one.name}_asked": getattr(self, one.name) for one in fields(self)}


def _refuse_for_pictures(given: Mapping[str, Any]) -> None:
    usual = {one.name: one.default for one in fields(ClipChoice)}
    for flag, why in _WHY_CLIPS.items():
        if given[flag] not in (False, usual[flag]):
            raise InputError(f"--{flag} {why}, which only --video and --camera have.")


def _refuse_gaps(given: Mapping[str, Any]) -> None:
    """Refuse to leave out boxes that a user gave for every frame, and to follow tracks without any."""
    every = given["detect_every"]
    if every == 1:
        return
    gives = "boxes" if given["boxes"] is not None else given["detector"]
    if gives in GIVEN:
        raise InputError(
            f"--detect_every {every} would leave out boxes that --detector {gives} has for every frame: "
            "leave one of the two out."
        )
    if given["track"] is False:
        raise InputError(
            f"--detect_every {every} follows tracks, which --no-track leaves out: leave one out."
        )


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
        "--detect_every",
        type=positive,
        default=1,
        metavar="K",
        help=f"find {many} in every K-th frame, and when one is new or lost; in between, boxes follow the "
        "meshes",
    )
    add(
        "--smooth",
        choices=tuple(SMOOTHERS),
        help="smooth rotations, shape and place along each track: one-euro without delay, for still hands; "
        "savgol with six frames on each side; default: not at all",
    )
    add(
        "--decoder",
        choices=(DIFFUSION,),
        help="poses from the temporal decoder beside the weights, which reads many frames of a track before "
        "one is drawn; shape and camera stay the model's; default: the model's head",
    )
