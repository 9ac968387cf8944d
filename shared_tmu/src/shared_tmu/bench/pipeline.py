"""The pipeline from pictures to overlays, one stage after the other, so that each can be timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared_tmu.bench.part_timer import PartClock
from shared_tmu.errors import InputError
from shared_tmu.programs.estimates import HAND

Image = NDArray[np.uint8]
CROP_PICTURE_PX = 384  # side of the picture of one hand, as in the demo


class Pipeline(Protocol):
    """What `--profile` runs: one batch, from pictures to overlays."""

    def run(self, model: nn.Module, clock: PartClock) -> None:
        """Process the batch once; the stages before and after the model are parts of the clock."""


class ModelPipeline:
    """Only the model, on a batch of random crops: for models that have no pipeline here.

    Args:
        batch: the model's argument.
    """

    def __init__(self, batch: Mapping[str, Tensor]) -> None:
        self.batch = batch

    def run(self, model: nn.Module, clock: PartClock) -> None:
        """See `Pipeline`."""
        model(self.batch)


class HandPipeline:
    """Finds hands, crops them, runs the model, and draws every hand's mesh over its picture and over its
    crop.

    Args:
        pictures: `[H, W, 3]` uint8 BGR, by name; taken in turn until the batch is full.
        batch_size: number of hands.
        detector: one of the detectors of `shared_tmu.detect`.

    Raises:
        InputError: too few hands are found in all pictures together.
    """

    def __init__(self, pictures: Mapping[str, Image], batch_size: int, detector: Any) -> None:
        self.batch_size, self.detector = batch_size, detector
        hands = {name: len(detector.detect(image, name).boxes) for name, image in pictures.items()}
        if not any(hands.values()):
            raise InputError(f"{detector.name} finds no hand in {', '.join(pictures) or 'no pictures'}.")
        self.pictures: list[tuple[str, Image]] = []
        found = 0
        while found < batch_size:
            for name, image in pictures.items():
                if hands[name] and found < batch_size:
                    self.pictures.append((name, image))
                    found += hands[name]

    @classmethod
    def from_folder(cls, folder: Path, batch_size: int) -> HandPipeline:
        """The pipeline for the pictures of a folder, with the detector that needs no files.

        Raises:
            InputError: there are no pictures, one cannot be read, or none shows a hand.
        """
        from shared_tmu.detect import make_detector
        from shared_tmu.pictures.images import read_image
        from shared_tmu.pictures.listing import list_images

        sources = list_images(folder, ["*.jpg", "*.png"])
        pictures = {source.name: read_image(source.path).bgr for source in sources}
        return cls(pictures, batch_size, make_detector("mediapipe", folder))

    def run(self, model: nn.Module, clock: PartClock) -> None:
        """See `Pipeline`."""
        from shared_tmu.pictures.hand_crops import hand_crop

        config: Any = model.config
        found = []
        for name, image in self.pictures:
            with clock.part("detection"):
                hands = self.detector.detect(image, name).boxes
            with clock.part("crop"):
                for hand in hands:
                    crop = hand_crop(image, hand.box_xyxy, hand.is_right, image_size=config.image_size)
                    found.append((image, hand, crop))
        found = found[: self.batch_size]
        with clock.part("crop"):
            img = torch.from_numpy(np.stack([crop.img for _, _, crop in found])).to(clock.device)
        output = model({"img": img})
        with clock.part("rendering"):
            values = {
                name: tensor.float().cpu().numpy()
                for name, tensor in _tensors(output)
                if len(tensor) == len(img)
            }
            for row, (image, hand, crop) in enumerate(found):
                _draw(image, hand, crop, {name: value[row] for name, value in values.items()}, model)


PIPELINES: dict[str, Callable[[Path, int], Pipeline]] = {HAND.name: HandPipeline.from_folder}
"""Pipelines by what models estimate; each is made from the folder of pictures and the batch size."""


def _tensors(output: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for name, value in output.items():
        if isinstance(value, Mapping):
            yield from _tensors(value)
        else:
            yield name, value


def _draw(image: Image, hand: Any, crop: Any, output: Mapping[str, NDArray[np.float32]], model: Any) -> None:
    """Draw the hand over its picture and over the picture of its crop, as the demo does."""
    from shared_tmu.pictures.overlays import Mesh, View, draw_meshes
    from shared_tmu.programs.hand_records import make_record
    from shared_tmu.programs.tables import ImageCamera

    height, width = image.shape[:2]
    camera = ImageCamera.of_image(width, height, None)
    record = make_record(output, hand, crop, camera)
    faces = np.asarray(model.mano.faces).astype(np.int64)
    mesh = Mesh(record.vertices_camera_m, faces if hand.is_right else faces[:, ::-1])
    view = View(camera.focal_px, camera.principal_point_px, width, height)
    draw_meshes(image, [mesh], view)
    centre = (float(crop.box_center[0]), float(crop.box_center[1]))
    close = np.zeros((CROP_PICTURE_PX, CROP_PICTURE_PX, 3), np.uint8)
    draw_meshes(close, [mesh], view.zoom(centre, crop.box_size, CROP_PICTURE_PX))
