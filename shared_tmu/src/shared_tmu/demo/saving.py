"""All result files of one image, as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.demo.batching import Job
from shared_tmu.demo.estimated import Estimated, facts_of_image, require_sound
from shared_tmu.demo.meshes import mesh_files
from shared_tmu.demo.options import DemoOptions
from shared_tmu.demo.subjects import HANDS, DemoSubject
from shared_tmu.demo.tokens import draw_stages
from shared_tmu.pictures.hand_crops import hand_crop
from shared_tmu.pictures.overlays import Mesh, View, draw_meshes, draw_side_view
from shared_tmu.pictures.panels import denormalise, encode, side_by_side, with_caption

CROP_PICTURE_PX = 384
"""Side of the pictures of one hand or person, pixels."""

JPEG_LIMIT_PX = 65500


@dataclass(frozen=True)
class Drawer:
    """Makes the files of an image; can be sent to other processes.

    Attributes:
        options: which results to save.
        faces: triangles of the mesh, of a right hand, `[F, 3]`.
        facts: facts about the model, for the `.json`.
        grid: rows and columns of patches, for `--tokens`.
        subject: what is drawn: hands or people.
    """

    options: DemoOptions
    faces: NDArray[np.integer[Any]]
    facts: Mapping[str, Any]
    grid: tuple[int, int] = (16, 12)
    subject: DemoSubject = HANDS

    def files(self, job: Job) -> dict[str, bytes]:
        """Contents by name in the output folder, for an image whose crops are all predicted.

        Raises:
            InputError: the model gave numbers that cannot be drawn, see `require_sound`.
        """
        return ImageFiles(job, self).all_files()


class ImageFiles:
    """Makes the files of one image."""

    def __init__(self, job: Job, drawer: Drawer) -> None:
        self.job, self.drawer, self.options = job, drawer, drawer.options
        self.subject = drawer.subject
        self.estimated = Estimated.of(job, self.subject, drawer.faces, self.options.focal_px)
        self.records, self.view = self.estimated.records, self.estimated.view

    def all_files(self) -> dict[str, bytes]:
        key = self.job.source.key
        files: dict[str, bytes] = {}
        for index in range(len(self.records)):
            files |= {f"{key}_{index}{name}": content for name, content in self._item_files(index).items()}
        if self.options.overlays and self.options.full_frame and self.records:
            files[f"{key}_all.jpg"] = encode(self.full_frame(), ".jpg")
        if self.options.save_params:
            told = facts_of_image(self.job, self.drawer.facts)
            files |= {f"{key}.{suffix}": data for suffix, data in self.estimated.parameters(told).items()}
        return files

    def close_up(self, index: int) -> tuple[NDArray[np.uint8], View]:
        """The picture around one hand or person `[S, S, 3]`, not mirrored, and the image's camera for it."""
        centre, side = self.subject.square(self.job.crops[index])
        half = side / 2
        box = (centre[0] - half, centre[1] - half, centre[0] + half, centre[1] + half)
        assert self.job.image is not None
        picture = crop_picture(self.job.image, box, CROP_PICTURE_PX)
        return picture, self.view.zoom(centre, side, CROP_PICTURE_PX)

    def _item_files(self, index: int) -> dict[str, bytes]:
        mesh = self.estimated.meshes[index]
        files: dict[str, bytes] = {}
        if self.options.overlays:
            files[".png"] = encode(self._overlay(index, mesh), ".png")
        if self.options.save_mesh:
            for suffix, content in mesh_files(mesh.vertices, mesh.faces, mesh.rgb).items():
                files[f".{suffix}"] = content
        if self.options.tokens:
            seen = self.job.crops[index]
            drawn = draw_stages(self.subject, seen, self.job.predictions[index].groups, self.drawer.grid)
            files["_tokens.png"] = encode(drawn, ".png")
        if self.options.compare:
            files["_compare.png"] = encode(self._comparison(index), ".png")
        return files

    def _overlay(self, index: int, mesh: Mesh) -> NDArray[np.uint8]:
        """The crop, the crop with its mesh, and with `--side_view` the mesh from the side."""
        picture, view = self.close_up(index)
        panels = [picture, draw_meshes(picture, [mesh], view)]
        if self.options.side_view:
            panels.append(draw_side_view(mesh, view, self.subject.turns_right(self.records[index])))
        return side_by_side(panels)

    def _comparison(self, index: int) -> NDArray[np.uint8]:
        """The photograph and the mesh for each merging setting, captioned with their times."""
        job = self.job
        camera = self.estimated.camera
        photograph, view = self.close_up(index)
        panels = [with_caption(photograph, job.source.name)]
        for caption, output in job.predictions[index].others.items():
            record = self.subject.record(output, job.detection.boxes[index], job.crops[index], camera)
            whose = f"{self.subject.one} {index} of {job.source.name} with {caption.partition(':')[0]}"
            require_sound(record, whose)
            panels.append(with_caption(draw_meshes(photograph, [self.estimated.mesh(record)], view), caption))
        return side_by_side(panels)

    def full_frame(self) -> NDArray[np.uint8]:
        """The image with all meshes over it."""
        assert self.job.image is not None
        drawn = draw_meshes(self.job.image, self.estimated.meshes, self.view)
        longest = max(drawn.shape[:2])
        if longest <= JPEG_LIMIT_PX:
            return drawn
        import cv2

        factor = JPEG_LIMIT_PX / longest
        smaller = cv2.resize(drawn, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        return np.asarray(smaller, np.uint8)


def crop_picture(
    image: NDArray[np.uint8], box: tuple[float, float, float, float], size_px: int
) -> NDArray[np.uint8]:
    """A square of an image at another size, cut like the model's crops, but not normalised or mirrored."""
    crop = hand_crop(image, box, True, rescale_factor=1.0, image_size=size_px, aspect=None)
    return denormalise(crop.img)
