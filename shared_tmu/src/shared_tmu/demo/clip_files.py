"""Opening a video file so that nothing but that file is ever opened.

FFmpeg recognises a file's format by its content, and some formats refer to other files or URLs: playlists,
concat scripts, session descriptions, external tracks of a .mov. Here FFmpeg gets an open file without a name,
may use only container formats that hold their frames themselves, and may not open anything else.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from shared_tmu import files
from shared_tmu.errors import InputError, MissingDependencyError

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,gif,apng,ivf,nut,mxf,dv,rm,"
    "h264,hevc,obu,m4v,mpegvideo,mjpeg,yuv4mpegpipe"
)
"""FFmpeg's names of the containers that are read: files that hold all their frames themselves."""

MAX_FRAME_PIXELS = 1 << 27
"""Largest frame in pixels, 16384 x 8192: 400 MB as 8-bit colour."""

USE = "name a video file, such as clip.mp4."

_ONE_PICTURE = re.compile(rb"....ftyp(hei|hev|mif1|msf1|avi[fs])", re.DOTALL)
"""HEIF and AVIF pictures, which use a container for videos."""

_NO_VIDEOS = (
    (rb"\s*(#EXTM3U|ffconcat|\[playlist\]|v=0|<\?xml|<MPD|<smil)", "a playlist that names other files"),
    (rb"\xff\xd8\xff|\x89PNG|BM|II\*\0|MM\0\*|8BPS", "a picture"),
    (rb"RIFF....WEBP", "a WebP picture (animations are not supported)"),
    (_ONE_PICTURE.pattern, "a picture"),
    (rb"ID3|fLaC|RIFF....WAVE|\xff[\xfb\xf3\xf2]", "sound without a video"),
)
"""First bytes of files that are not videos but may be mistaken for them, with descriptions."""


class Readable(Protocol):
    """The file interface that FFmpeg needs, without a file name: FFmpeg would use the name."""

    def read(self, count: int) -> bytes:
        """At most `count` bytes, none at the end."""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position; returns the new position."""

    def tell(self) -> int:
        """The current position."""


class Nameless:
    """A file's content, without its name."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def open_file(path: Path) -> BinaryIO:
    """Open a video file, which must exist, be a regular file and be readable.

    Raises:
        InputError: it cannot be opened; the message says what it is instead.
    """
    if not files.is_file(path):
        raise InputError(f"--video {_asked(path)} {_why_not(path)}")
    return files.open_file(path, InputError, USE.capitalize())


def open_container(file: BinaryIO, path: Path) -> Any:
    """PyAV's container for an open file; close the container first, then the file.

    Args:
        file: the open video file.
        path: its path, for messages.

    Raises:
        InputError: it is not a video, or not in a supported format.
        MissingDependencyError: PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError(
            "--video was asked for, but PyAV is not installed: pip install 'shared_tmu[demo]'"
        ) from error
    if _ONE_PICTURE.match(_beginning(file, path)):  # FFmpeg would return a part of it as a clip of one frame
        raise InputError(f"--video {path} {_no_video(_beginning(file, path))}")
    try:
        return av.open(
            Nameless(file),
            mode="r",
            container_options={"format_whitelist": CONTAINERS, "protocol_whitelist": "none"},
            metadata_errors="replace",
            io_open=_open_nothing,
        )
    except Exception as error:  # PyAV's error classes have no common base
        raise InputError(f"--video {path} {_no_video(_beginning(file, path))}") from error


def _beginning(file: BinaryIO, path: Path) -> bytes:
    try:
        file.seek(0)
        content = file.read(64)
        file.seek(0)
    except OSError as error:
        raise InputError(
            f"--video {path} cannot be read ({error.strerror or error}): copy it to another disk, or {USE}"
        ) from error
    return content


def _open_nothing(url: str, flags: int, options: dict[str, Any]) -> Any:
    raise PermissionError(f"a video must not open {url}")


def _asked(path: Path) -> str:
    """The path as the user wrote it: a `Path` turns the `//` of a URL into `/`."""
    return re.sub(r"^([A-Za-z][\w+.-]+):/(?=[^/])", r"\1://", str(path))


def _why_not(path: Path) -> str:
    """Why the path is not a regular file."""
    text = str(path)
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except (OSError, ValueError) as error:
        if re.fullmatch(r"\d+|(/dev/)?video\d+", text):
            return f"is a camera: use --camera, or {USE}"
        if re.match(r"[A-Za-z][\w+.-]+:", text):
            return f"is a URL, and nothing is downloaded: use --camera for a stream, or {USE}"
        if isinstance(error, FileNotFoundError):
            what = "is a link to a file that does not exist" if path.is_symlink() else "does not exist"
            pictures = " For pictures use --img_folder FOLDER." if re.search("[%*?]", path.name) else ""
            return f"{what}: {USE}{pictures}"
        return f"cannot be opened ({getattr(error, 'strerror', None) or error}): {USE}"
    if kind == stat.S_IFDIR:
        return f"is a folder, not a file: {USE}"
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        return f"is a camera or another device, not a file: use --camera, or {USE}"
    return f"is a pipe or socket, not a file: {USE}"


def _no_video(beginning: bytes) -> str:
    if not beginning:
        return f"is empty (0 bytes): {USE}"
    for pattern, what in _NO_VIDEOS:
        if re.match(pattern, beginning, re.DOTALL):
            more = " For pictures use --img_folder." if "picture" in what else ""
            return f"is {what}, not a video file: {USE}{more}"
    return f"cannot be opened: it is damaged, or not in a supported video format; {USE}"
