"""Cameras and streams: clips that never end, of which the newest frame is taken each time.

A thread grabs frames as fast as they come and keeps only the newest, so that what is shown is never older
than what is being computed; the others are counted as dropped. Times are those at which frames were grabbed.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np

from shared_tmu.demo.channels import PixelBudget
from shared_tmu.demo.frame_clock import USUAL_FPS
from shared_tmu.demo.ledger import OutputFolder
from shared_tmu.demo.origins import CAMERA, unused_key
from shared_tmu.demo.read_ahead import Loaded
from shared_tmu.demo.sources import PROBLEMS_LISTED, Clock, IsFinished
from shared_tmu.demo.upright import fitted
from shared_tmu.detect import Detector
from shared_tmu.errors import InputError
from shared_tmu.pictures.images import Picture
from shared_tmu.pictures.listing import Source, shortened
from shared_tmu.pictures.quiet import quiet_opencv

PATIENCE_MS = 10_000
"""How long to wait for a stream, and for each of its frames."""

LATENCIES = 10_000
"""Number of the newest frames whose latencies are told."""

QUERY_DIGITS = 6
"""Length of the digest of a query in a name: enough to tell streams apart."""

_log = logging.getLogger(__name__)


class Capture(Protocol):
    """The part of `cv2.VideoCapture` that is used."""

    def read(self) -> tuple[bool, Any]: ...

    def release(self) -> None: ...


def parse_address(text: str) -> int | str:
    """What `--camera` names: the number of a camera, or the address of a stream.

    Raises:
        InputError: neither.
    """
    camera = re.fullmatch(r"(?:/dev/video)?(\d{1,3})", text)
    if camera:
        return int(camera[1])
    if re.match(r"[A-Za-z][\w+.-]+://.", text) and not text.startswith("file:"):
        try:
            _ = urlsplit(text).port
        except ValueError:
            raise InputError(
                "--camera names a stream whose host or port cannot be read: write the address as "
                "rtsp://user:password@host:554/path, with %2F, %3F and %40 for /, ? and @ in the password."
            ) from None  # the cause may show a part of the password
        return text
    raise InputError(
        f"--camera {text!r} is neither the number of a camera, such as 0, nor the address of a stream, such "
        "as rtsp://host/path: for a file use --video."
    )


def name_of(address: int | str) -> str:
    """How results call it: `camera_0`, or host, port and path of a stream, without user and password.

    The query may hold a secret too, so that of it only a short digest is shown.
    """
    if isinstance(address, int):
        return f"camera_{address}"
    parts = urlsplit(address)
    query = hashlib.sha256(parts.query.encode()).hexdigest()[:QUERY_DIGITS] if parts.query else ""
    name = f"{parts.hostname or ''} {parts.port or ''} {parts.path} {query}"
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "stream"


def open_capture(address: int | str) -> Capture:
    """Open a camera or a stream.

    Raises:
        InputError: it cannot be opened.
    """
    import cv2

    with quiet_opencv():  # it prints why it cannot open an address, with what is secret in it
        if isinstance(address, int):
            capture = cv2.VideoCapture(address)
        else:
            waits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, PATIENCE_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, PATIENCE_MS]
            capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, waits)
    if not capture.isOpened():
        what = (
            "there is no such camera, or another program uses it"
            if isinstance(address, int)
            else ("nothing answers there, or not with a video")
        )
        raise InputError(f"--camera {name_of(address)} cannot be opened: {what}.")
    return capture


class LiveClip:
    """A camera or stream, opened; see `Clip` for what the two share.

    Args:
        address: see `parse_address`.
        capture: gives its frames.

    Attributes:
        key: name of its results, which `settle` makes one that no earlier recording has.

    Raises:
        InputError: it gives no frame.
    """

    frames: int | None = None

    def __init__(self, address: int | str, capture: Capture) -> None:
        self.name, self.capture = name_of(address), capture
        self.key = shortened(self.name)
        is_there, first = capture.read()
        if not is_there:
            capture.release()
            raise InputError(
                f"--camera {self.name} was opened, but gives no frame: look whether it is in use."
            )
        self.size_px = (int(first.shape[1]), int(first.shape[0]))

    @property
    def origin(self) -> str:
        """See `origins`."""
        return f"{CAMERA} {self.name}"

    @property
    def sound_path(self) -> Path | None:
        """None: sound is not recorded."""
        return None

    @property
    def digest(self) -> str:
        """None: it is never the same twice."""
        return ""

    def source(self, index: int) -> Source:
        """A frame, with its name in messages and boxes files."""
        return Source(Path(self.name), f"{self.name}:{index}", str(index))


class LiveReader:
    """Grabs frames in a thread; iteration yields the newest each time, until `stop`.

    Attributes:
        times_s: when each frame that was taken was grabbed, counted from the first.
        dropped: number of frames that were grabbed, but not taken.
    """

    start_s = 0.0

    def __init__(self, clip: LiveClip) -> None:
        self.clip = clip
        self.times_s: list[float] = []
        self.dropped = 0
        self._newest: tuple[Any, float] | None = None
        self._changed = threading.Condition()
        self._is_stopped = False
        self._began = 0.0
        self._latencies: deque[float] = deque(maxlen=LATENCIES)

    def stop(self) -> None:
        """End after the frames that are in process; may be called in a signal handler and again."""
        self._is_stopped = True

    def __iter__(self) -> Iterator[Loaded]:
        thread = threading.Thread(target=self._grab, name="grab", daemon=True)
        thread.start()
        try:
            while (taken := self._take()) is not None:
                frame, at = taken
                self._began = self._began if self.times_s else at
                index = len(self.times_s)
                self.times_s.append(max(at - self._began, self.times_s[-1] + 1e-4 if index else 0.0))
                picture = Picture(fitted(np.ascontiguousarray(frame), self.clip.size_px))
                yield Loaded(self.clip.source(index), picture=picture)
        finally:
            self.stop()
            thread.join()
            self.clip.capture.release()

    def done(self, index: int) -> None:
        """A frame is drawn and saved."""
        self._latencies.append(time.perf_counter() - self._began - self.times_s[index])

    @property
    def end_s(self) -> float:
        """When the last frame ends."""
        steps = np.diff(self.times_s[-25:])
        usual = float(np.median(steps)) if len(steps) else 1 / USUAL_FPS
        return self.times_s[-1] + usual if self.times_s else 0.0

    @property
    def fps(self) -> float:
        """Frames per second that were taken, on average."""
        return len(self.times_s) / self.end_s if self.times_s else USUAL_FPS

    def rows(self) -> list[tuple[str, str]]:
        """Dropped frames and latency, for the closing table."""
        grabbed = self.dropped + len(self.times_s)
        rows = [("frames dropped", f"{self.dropped} of {grabbed}: newer ones were there")]
        if self._latencies:
            middle, most = (1000 * np.quantile(self._latencies, share) for share in (0.5, 0.95))
            rows.append(("latency", f"{middle:.0f} ms from grabbing to saving (95 % below {most:.0f} ms)"))
        return rows

    def facts(self) -> dict[str, Any]:
        """The same for the `.json`; latencies differ from run to run and are not in it."""
        return {"frames_dropped": self.dropped}

    def _grab(self) -> None:
        while not self._is_stopped:
            is_there, frame = self.clip.capture.read()
            if not is_there:
                _log.info("%s gives no more frames.", self.clip.name)
                self.stop()
                break
            with self._changed:
                self.dropped += self._newest is not None
                self._newest = frame, time.perf_counter()
                self._changed.notify()

    def _take(self) -> tuple[Any, float] | None:
        """The newest frame; None after `stop`."""
        with self._changed:
            while self._newest is None and not self._is_stopped:
                self._changed.wait(0.1)
            taken, self._newest = self._newest, None
            return taken


class LiveSource:
    """The frames of a camera or stream."""

    unit = "frames"
    is_live = True
    expected: int | None = None
    problems_listed: int | None = PROBLEMS_LISTED

    def __init__(self, clip: LiveClip) -> None:
        self.clip, self.reader = clip, LiveReader(clip)
        self.clock: Clock | None = self.reader.times_s.__getitem__
        self.pixels = clip.size_px[0] * clip.size_px[1]

    @property
    def total(self) -> int:
        """See `ImageSource`, also for all others."""
        return len(self.reader.times_s)

    def settle(self, folder: OutputFolder) -> int:
        self.clip.key = unused_key(folder, self.clip.key)
        return 0

    def check_boxes(self, detector: Detector) -> None:
        pass

    def read(self, is_finished: IsFinished, budget: PixelBudget) -> Generator[Loaded, None, None]:
        for loaded in self.reader:
            budget.take(loaded.pixels)
            yield loaded

    def portions(self, batch_size: int) -> list[Sequence[Source]]:
        return []

    def place(self, name: str) -> int:
        return int(name.rpartition(":")[2])

    def problems(self) -> list[str]:
        return []


def open_live(text: str) -> LiveSource:
    """The camera or stream that `--camera` names.

    Raises:
        InputError: it cannot be opened.
    """
    address = parse_address(text)
    return LiveSource(LiveClip(address, open_capture(address)))
