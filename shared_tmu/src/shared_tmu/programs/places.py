"""Detects command-line values that cannot be files: URLs, cameras, names that no file system allows."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared_tmu.errors import InputError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # two letters at least: C:/ is a Windows path
_CAMERA = re.compile(
    r"\d+|(camera|webcam|usb|v4l2?|dshow|avfoundation)(:.*)?|(/dev/)?video\d+", re.IGNORECASE
)


def require_places(given: Mapping[str, Any]) -> None:
    """Refuse values that are not files but could be taken for them.

    Args:
        given: values by flag, such as `--video`; values that are not paths are ignored.

    Raises:
        InputError: an address, a camera, or a path that cannot be looked up.
    """
    for flag, value in given.items():
        if isinstance(value, Path):
            _require_place(flag, value)


def _require_place(flag: str, path: Path) -> None:
    text = str(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = 0
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{flag} {_short(text)} cannot be a file ({reason}): name a file on this machine."
        ) from error
    if mode == 0 and _ADDRESS.match(text):
        address = text if "://" in text else text.replace(":/", "://", 1)  # a path has single slashes
        what = "for a stream use --camera, or" if flag == "--video" else "nothing is downloaded;"
        raise InputError(f"{flag} {_short(address)} is a URL: {what} name a file on this machine.")
    if flag == "--video" and (stat.S_ISCHR(mode) or (mode == 0 and _CAMERA.fullmatch(text))):
        raise InputError(
            f"{flag} {_short(text)} is a camera or another device: use --camera, or name the file of a clip."
        )


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:100]}... ({len(text)} characters)"
