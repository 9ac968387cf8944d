"""Finds hands or people in a picture and cuts their crops."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from shared_tmu.demo.batching import Job
from shared_tmu.demo.masking import Masker
from shared_tmu.demo.subjects import DemoSubject
from shared_tmu.detect import Detection
from shared_tmu.errors import InputError
from shared_tmu.masks import MaskChoice
from shared_tmu.pictures.images import Picture
from shared_tmu.pictures.listing import Source


@dataclass(frozen=True)
class Cutter:
    """Cuts what was found in a picture.

    Attributes:
        subject: what is cut: hands or people.
        scale: size of a crop relative to its box.
        input_size: height and width of the crops, pixels.
        masks: the masks of the crops.
        keeps_picture: whether the picture itself is still needed after cutting.
    """

    subject: DemoSubject
    scale: float
    input_size: tuple[int, int]
    masks: MaskChoice
    keeps_picture: bool = False

    def cut(self, source: Source, digest: str, picture: Picture, detection: Detection[Any]) -> Job:
        """The crops of a picture; a box that cannot be cropped is left out and among the problems.

        Args:
            source: where the picture comes from.
            digest: see `Job`.
            picture: its pixels.
            detection: what was found in it.
        """
        masker, image = Masker(self.masks, self.subject), picture.bgr
        boxes, crops, masks, problems = [], [], [], list(detection.problems)
        for box in detection.boxes:
            try:
                crop = self.subject.crop(image, box, self.scale, self.input_size)
                masks.append(masker.of(box, crop))
                crops.append(crop)
                boxes.append(box)
            except InputError as error:
                problems.append(str(error))
        kept = image if self.keeps_picture else None
        usable = replace(detection, boxes=tuple(boxes), problems=tuple(problems))
        return Job(source, digest, picture.size_px, kept, usable, crops, masks)
