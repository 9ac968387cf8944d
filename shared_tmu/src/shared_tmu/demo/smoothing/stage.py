"""The stage after the model that smooths tracks; frames leave it in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from shared_tmu.demo.batching import Job
from shared_tmu.demo.smoothing.hands import HandMotions
from shared_tmu.demo.smoothing.people import BodyMotions
from shared_tmu.programs.estimates import BODY, HAND, Estimate
from shared_tmu.programs.tables import ImageCamera
from shared_tmu.temporal.smoothing.kinds import AROUND, SAVGOL, SMOOTHERS
from shared_tmu.temporal.smoothing.motion import Motion
from shared_tmu.temporal.smoothing.one_euro import OneEuro
from shared_tmu.temporal.smoothing.savgol import fit

if TYPE_CHECKING:
    from shared_tmu.demo.predict import Arrays

FORGOTTEN = 50
"""A track that was not in a frame for this long starts anew."""

Key = tuple[int, bool | None]
"""A track and the side on which the model saw it: mirrored predictions do not belong together."""


class Motions(Protocol):
    """Converts predictions of one kind of subject into motions, and back."""

    def read(self, output: Arrays, box: Any, crop: Any, camera: ImageCamera) -> Motion | None: ...

    def write(
        self,
        outputs: Sequence[Arrays],
        motions: Sequence[Motion],
        boxes: Sequence[Any],
        crops: Sequence[Any],
        camera: ImageCamera,
    ) -> list[Arrays]: ...


def motions_of(estimates: Estimate, model: Any) -> Motions:
    """What converts the predictions of a model."""
    kinds: dict[str, Callable[[Any], Motions]] = {HAND.name: HandMotions, BODY.name: BodyMotions}
    return kinds[estimates.name](getattr(model, estimates.body_layer))


@dataclass(frozen=True)
class _Sighting:
    """A track in a frame."""

    frame: int
    time_s: float
    motion: Motion


class Smoother:
    """Smooths the tracks of one clip, whose frames come in order.

    A prediction that is not finite, or lies behind the camera, stays as it is, and those before and after it
    are smoothed as if the track had not been in that frame.

    Args:
        kind: one of `SMOOTHERS`.
        motions: converts the predictions.
        clock: when each frame is shown, seconds.
        focal_px: see `DemoOptions`.
    """

    def __init__(
        self, kind: str, motions: Motions, clock: Callable[[int], float], focal_px: float | None
    ) -> None:
        self.kind, self.motions, self.clock, self.focal_px = kind, motions, clock, focal_px
        self._waiting: deque[Job] = deque()
        self._newest = -1
        self._filters: dict[Key, OneEuro] = {}
        self._seen: dict[Key, deque[_Sighting]] = {}

    def take(self, job: Job) -> Iterator[Job]:
        """Take a frame whose crops are predicted; gives back those that are now smooth."""
        frame = int(job.source.key)
        self._newest = max(self._newest, frame)
        for key, motion in zip(self._keys(job), self._read(job), strict=True):
            if motion is not None:
                self._seen.setdefault(key, deque(maxlen=2 * AROUND + 1)).append(
                    _Sighting(frame, self.clock(frame), motion)
                )
        if not job.crops:
            yield job
        else:
            self._waiting.append(job)
        yield from self._ready(self._newest - SMOOTHERS[self.kind])

    def finish(self) -> Iterator[Job]:
        """The frames that are left."""
        yield from self._ready(self._newest)

    def _ready(self, until: int) -> Iterator[Job]:
        while self._waiting and int(self._waiting[0].source.key) <= until:
            yield self._smooth(self._waiting.popleft())

    def _smooth(self, job: Job) -> Job:
        """A frame with its tracks smoothed."""
        frame = int(job.source.key)
        smooth = [self._value(key, frame) for key in self._keys(job)]
        rows = [row for row, motion in enumerate(smooth) if motion is not None]
        job.unsmoothed = job.unsmoothed or job.predictions
        if rows:
            boxes, crops = [job.detection.boxes[row] for row in rows], [job.crops[row] for row in rows]
            outputs, motions = [job.predictions[row].output for row in rows], [one for one in smooth if one]
            made = iter(self.motions.write(outputs, motions, boxes, crops, self._camera(job)))
            job.predictions = [
                replace(old, output=next(made)) if row in rows else old
                for row, old in enumerate(job.predictions)
            ]
        self._forget(frame)
        return job

    def _value(self, key: Key, frame: int) -> Motion | None:
        """The smoothed motion of a track in a frame; None if none was read there."""
        seen = [one for one in self._seen.get(key, ()) if abs(one.frame - frame) <= AROUND]
        index = next((index for index, one in enumerate(seen) if one.frame == frame), None)
        if index is None:
            return None
        if self.kind == SAVGOL:
            return fit([one.time_s for one in seen], [one.motion for one in seen], index)
        now = seen[index]
        return self._filters.setdefault(key, OneEuro()).step(now.time_s, now.motion)

    def _read(self, job: Job) -> Iterator[Motion | None]:
        camera = self._camera(job)
        for one, box, crop in zip(job.predictions, job.detection.boxes, job.crops, strict=True):
            yield self.motions.read(one.output, box, crop, camera) if one.is_finite else None

    def _keys(self, job: Job) -> list[Key]:
        return [(box.track, getattr(box, "is_right", None)) for box in job.detection.boxes]

    def _camera(self, job: Job) -> ImageCamera:
        return ImageCamera.of_image(*job.size_px, self.focal_px)

    def _forget(self, frame: int) -> None:
        old = [key for key, seen in self._seen.items() if frame - seen[-1].frame > FORGOTTEN]
        for key in old:
            del self._seen[key]
            self._filters.pop(key, None)
