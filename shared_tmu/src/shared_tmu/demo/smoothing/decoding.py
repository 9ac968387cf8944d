"""The stage after the model that gives tracks the poses of the temporal decoder; frames leave in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from shared_tmu.demo.batching import Job
from shared_tmu.demo.predict import FEATURE, Prediction, Predictor
from shared_tmu.demo.smoothing.poses import Poses, poses_of
from shared_tmu.errors import InputError
from shared_tmu.temporal.config import FPS
from shared_tmu.temporal.files import decoder_path, load_decoder, require_decoder_fit
from shared_tmu.temporal.model import MotionDecoder
from shared_tmu.temporal.posing import condition_of, pose_of
from shared_tmu.temporal.stream import WindowStream

if TYPE_CHECKING:
    from shared_tmu.demo.predict import Arrays

BRIDGED = 10
"""A track that was not in a frame for longer than this starts anew; shorter gaps are filled evenly."""

UNEVEN, FEW = 0.3, 0.1
"""A frame's duration may differ by such a share from that in training, and that of a few frames by more."""

Key = tuple[int, bool | None]


@dataclass
class _DecodedTrack:
    """One track since it appeared.

    Attributes:
        stream: its conditions.
        first: the frame in which it appeared.
        last: its newest frame, and what the decoder read of it.
        decoded: how many of its frames are decoded.
        motion: those that are waiting, by number.
    """

    stream: WindowStream
    first: int
    last: tuple[int, Tensor]
    decoded: int = 0
    motion: dict[int, Tensor] = field(default_factory=dict)


class ClipDecoder:
    """Decodes the tracks of one clip, whose frames come in order.

    A prediction that is not finite stays as it is, and is a gap in its track.

    Args:
        decoder: in eval mode, on the CPU.
        poses: of the model's predictions, with the body model on the CPU in float32.
    """

    def __init__(self, decoder: MotionDecoder, poses: Poses) -> None:
        self.decoder, self.poses = decoder, poses
        self._waiting: deque[tuple[Job, list[_DecodedTrack | None]]] = deque()
        self._tracks: dict[Key, _DecodedTrack] = {}

    @classmethod
    def beside(cls, predictor: Predictor, checkpoint: Path | None) -> ClipDecoder:
        """The decoder beside the weights; the predictor begins to keep what it reads.

        Raises:
            CheckpointError: it was trained for other weights, or is damaged.
            MissingAssetError: there is none.
            InputError: the model declares no feature.
        """
        program = predictor.program
        if program.feature is None:
            raise InputError(
                f"--decoder diffusion was asked for, but {program.name} declares no feature that a temporal "
                "decoder could read: leave it out; --smooth works with every model."
            )
        path = decoder_path(checkpoint or program.default_checkpoint)
        decoder, facts = load_decoder(path)
        require_decoder_fit(facts, predictor.model, path)
        predictor.reads = program.feature
        layer = deepcopy(getattr(predictor.model, program.estimates.body_layer))
        return cls(decoder, poses_of(program.estimates, layer.cpu().float()))

    @property
    def delay(self) -> int:
        """Most frames that wait for later ones."""
        return WindowStream(self.decoder.sample, self.decoder.config.frames).delay + BRIDGED

    def take(self, job: Job) -> Iterator[Job]:
        """Take a frame whose crops are predicted; gives back those that are decoded."""
        frame, boxes = int(job.source.key), job.detection.boxes
        for key in [key for key, one in self._tracks.items() if frame - one.last[0] > BRIDGED]:
            self._end(self._tracks.pop(key))
        tracks = [
            self._follow((box.track, getattr(box, "is_right", None)), frame, self._condition(one))
            if one.is_finite
            else None
            for box, one in zip(boxes, job.predictions, strict=True)
        ]
        self._waiting.append((job, tracks))
        yield from self._ready()

    def finish(self) -> Iterator[Job]:
        """The frames that are left."""
        for track in self._tracks.values():
            self._end(track)
        self._tracks = {}
        yield from self._ready()

    def _condition(self, one: Prediction) -> Tensor:
        """What the decoder reads of a prediction."""
        (rotmat, betas), layer = self.poses.read(one.output), self.poses.layer
        feature = torch.from_numpy(np.asarray(one.output[FEATURE]))
        return condition_of(layer, feature, rotmat.to(layer.v_template), betas)

    def _follow(self, key: Key, frame: int, condition: Tensor) -> _DecodedTrack:
        track = self._tracks.get(key)
        if track is None:
            stream = WindowStream(self.decoder.sample, self.decoder.config.frames)
            track = self._tracks[key] = _DecodedTrack(stream, frame, (frame, condition))
            self._push(track, condition)
            return track
        before, old = track.last
        for gap in range(before + 1, frame + 1):
            self._push(track, torch.lerp(old, condition, (gap - before) / (frame - before)))
        track.last = (frame, condition)
        return track

    def _push(self, track: _DecodedTrack, condition: Tensor) -> None:
        self._store(track, track.stream.push(condition))

    def _end(self, track: _DecodedTrack) -> None:
        self._store(track, track.stream.finish())

    def _store(self, track: _DecodedTrack, rows: Tensor | None) -> None:
        for row in () if rows is None else rows:
            track.motion[track.first + track.decoded] = row
            track.decoded += 1

    def _ready(self) -> Iterator[Job]:
        while self._waiting:
            job, tracks = self._waiting[0]
            frame = int(job.source.key)
            if not all(track is None or frame in track.motion for track in tracks):
                return
            self._waiting.popleft()
            yield self._decoded(job, [None if track is None else track.motion.pop(frame) for track in tracks])

    def _decoded(self, job: Job, motion: list[Tensor | None]) -> Job:
        """A frame with decoded poses; shape and camera are the head's."""
        job.unsmoothed = [replace(one, output=_without(one.output)) for one in job.predictions]
        job.predictions = [
            old if row is None else replace(old, output={**old.output, **self._posed(old.output, row)})
            for old, row in zip(job.unsmoothed, motion, strict=True)
        ]
        return job

    @torch.inference_mode()
    def _posed(self, output: Arrays, motion: Tensor) -> Arrays:
        layer = self.poses.layer
        betas = self.poses.read(output)[1][None].to(layer.v_template)
        return self.poses.write(output, pose_of(layer, motion[None], betas)[0])


def unlike_training(times_s: Sequence[float]) -> str:
    """A sentence if frames, shown at these times, do not last as long as in training; empty if they do."""
    lasting = np.diff(times_s)
    if not len(lasting):
        return ""
    share = float((np.abs(lasting * FPS - 1.0) > UNEVEN).mean())
    if share <= FEW:
        return ""
    rate = 1.0 / max(float(np.median(lasting)), 1e-6)
    return (
        f"--decoder diffusion reads frames as if all lasted 1/{FPS:.0f} s, as in its training: {share:.0%} "
        f"of these last longer or shorter (half of them 1/{rate:.3g} s or less), so motion looks faster or "
        f"slower to it than it is. Convert the clip to {FPS:.0f} even frames per second, or use --smooth "
        "instead."
    )


def _without(output: Arrays) -> Arrays:
    return {name: array for name, array in output.items() if name != FEATURE}
