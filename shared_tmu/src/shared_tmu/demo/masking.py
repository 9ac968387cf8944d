"""Masks of the demo's crops: drawn when a crop is cut, or, from the frame before, when that is predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared_tmu.demo.batching import Batch, CropMask, Job
from shared_tmu.demo.subjects import DemoSubject, Faces
from shared_tmu.masks import MASKS, Mask, MaskChoice, MaskScene, Outline
from shared_tmu.programs.tables import ImageCamera


class Masker:
    """Draws the masks of crops as they are cut.

    Args:
        choice: what `--mask` was given.
        subject: what is shown.
    """

    def __init__(self, choice: MaskChoice, subject: DemoSubject) -> None:
        self.choice, self.subject = choice, subject

    def of(self, box: Any, crop: Any) -> CropMask | None:
        """The mask of a crop; None if no masks were asked for.

        Where `previous` comes before the first source that is known, the scene is kept to draw it later.
        """
        if not self.choice:
            return None
        scene = self.subject.scene(box, crop)
        mask, name = self.choice.draw(scene)
        names = self.choice.names
        known = names.index(name) if name in names else len(names)
        may_wait = "previous" in names[:known]
        return CropMask(mask, name, (box, scene) if may_wait else None)


@dataclass(frozen=True)
class _Frame:
    """What was predicted in a frame of a clip."""

    number: int
    boxes: Sequence[Any]
    crops: Sequence[Any]
    outputs: Sequence[Any]
    camera: ImageCamera


class PreviousFrame:
    """Draws masks from the meshes of the frame before, and remembers those of the newest frame.

    A subject is the same if its track and its side are those in the frame just before; its mesh then moves
    and grows with the box. After a frame in which it was not found there is nothing to draw.

    Args:
        subject: what is shown.
        faces: of its mesh, `[F, 3]`.
        focal_px: see `DemoOptions`.
    """

    def __init__(self, subject: DemoSubject, faces: Faces, focal_px: float | None) -> None:
        self.subject, self.faces, self.focal_px = subject, faces, focal_px
        self._newest: _Frame | None = None

    def remember(self, jobs: Iterable[Job]) -> None:
        """Take the meshes of frames."""
        for job in jobs:
            camera = ImageCamera.of_image(*job.size_px, self.focal_px)
            outputs = [prediction.output for prediction in job.predictions]
            number = int(job.source.key)
            if self._newest is not None and number < self._newest.number:
                continue  # a frame in which nothing was found comes after the batch that it interrupts
            self._newest = _Frame(number, job.detection.boxes, list(job.crops), outputs, camera)

    def complete(self, batch: Batch) -> None:
        """Draw the masks of a batch that had to wait for the frame before it."""
        for job, crop_mask in zip(batch.jobs, batch.masks, strict=True):
            if job is None or crop_mask is None or crop_mask.waits is None:
                continue
            (box, scene), crop_mask.waits = crop_mask.waits, None
            outline = self._find(int(job.source.key), box)
            drawn = None if outline is None else _draw(scene, outline)
            if drawn is not None:
                crop_mask.mask, crop_mask.source = drawn, "previous"

    def _find(self, number: int, box: Any) -> Outline | None:
        """The mesh of the same subject in the frame before, moved with its box."""
        before = self._newest
        if before is None or before.number != number - 1:
            return None
        index = next((index for index, old in enumerate(before.boxes) if _is_same(old, box)), None)
        if index is None:
            return None
        old = before.boxes[index]
        record = self.subject.record(before.outputs[index], old, before.crops[index], before.camera)
        points = before.camera.project(record.vertices_camera_m)
        return Outline(points, self.faces).moved(old.box_xyxy, box.box_xyxy)


def _is_same(old: Any, new: Any) -> bool:
    """Whether two boxes show the same subject from the same side of the mirror."""
    return old.track == new.track and getattr(old, "is_right", None) == getattr(new, "is_right", None)


def _draw(scene: MaskScene, outline: Outline) -> Mask | None:
    drawn = MASKS["previous"].draw(replace(scene, previous=outline))
    return drawn if drawn is not None and drawn.any() else None


def count_sources(masks: Iterable[CropMask | None]) -> Counter[str]:
    """How many crops have a mask of each source; `none` for none."""
    return Counter(mask.source for mask in masks if mask is not None)
