"""All result files of one image, as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.crops import hand_crop
from shared_tmu.demo.batching import Job
from shared_tmu.demo.meshes import mesh_files
from shared_tmu.demo.options import DemoOptions
from shared_tmu.demo.pictures import denormalise, encode, side_by_side
from shared_tmu.demo.records import HandRecord, ImageCamera, image_arrays, make_record, to_json, to_npz
from shared_tmu.demo.tokens import draw_stages
from shared_tmu.errors import InputError
from shared_tmu.overlays import LEFT_RGB, RIGHT_RGB, Mesh, View, draw_meshes, draw_side_view

CROP_PICTURE_PX = 384
"""Side of the pictures of one hand."""

JPEG_LIMIT_PX = 65500


class ImageFiles:
    """Makes the files of one image.

    Args:
        job: the image with its hands predicted.
        options: what to save.
        faces: triangles of a right hand, `[F, 3]`.
        facts: about the model, for the `.json`.
        grid: rows and columns of patches, for `--tokens`.
    """

    def __init__(
        self,
        job: Job,
        options: DemoOptions,
        faces: NDArray[np.integer[Any]],
        facts: Mapping[str, Any],
        grid: tuple[int, int] = (16, 12),
    ) -> None:
        assert job.loaded.picture is not None
        self.job, self.options, self.faces, self.facts, self.grid = job, options, faces, facts, grid
        self.image = job.loaded.picture.bgr
        self.camera = ImageCamera.of_image(*job.loaded.picture.size_px, options.focal_px)
        self.view = View(
            self.camera.focal_px, self.camera.principal_point_px, self.camera.width, self.camera.height
        )
        self.records = [
            make_record(prediction.output, box, crop, self.camera)
            for prediction, box, crop in zip(job.predictions, job.detection.hands, job.crops, strict=True)
        ]
        self._require_finite()

    def all_files(self) -> dict[str, bytes]:
        """Name under the output folder to content.

        Raises:
            InputError: the model gave numbers that are not finite.
        """
        key = self.job.loaded.source.key
        files: dict[str, bytes] = {}
        for index in range(len(self.records)):
            files |= {f"{key}_{index}{name}": content for name, content in self._hand_files(index).items()}
        if self.options.full_frame and self.records:
            files[f"{key}_all.jpg"] = encode(self._full_frame(), ".jpg")
        if self.options.save_params:
            arrays = image_arrays(self.records, self.camera, self.faces)
            files[f"{key}.npz"] = to_npz(arrays)
            files[f"{key}.json"] = to_json(arrays, {"image": self.job.loaded.source.name, **self.facts})
        return files

    def mesh(self, record: HandRecord) -> Mesh:
        """A hand in the camera frame, its faces outward."""
        is_right = record.box.is_right
        faces = self.faces if is_right else self.faces[:, ::-1]
        return Mesh(record.vertices_camera_m, faces, RIGHT_RGB if is_right else LEFT_RGB)

    def hand_view(self, index: int) -> tuple[NDArray[np.uint8], View]:
        """The picture around one hand `[S, S, 3]`, not mirrored, and the image's camera looking at it."""
        crop = self.job.crops[index]
        centre = (float(crop.box_center[0]), float(crop.box_center[1]))
        half = crop.box_size / 2
        box = (centre[0] - half, centre[1] - half, centre[0] + half, centre[1] + half)
        picture = crop_picture(self.image, box, CROP_PICTURE_PX)
        return picture, self.view.zoom(centre, crop.box_size, CROP_PICTURE_PX)

    def _hand_files(self, index: int) -> dict[str, bytes]:
        record, (picture, view) = self.records[index], self.hand_view(index)
        mesh = self.mesh(record)
        panels = [picture, draw_meshes(picture, [mesh], view)]
        if self.options.side_view:
            panels.append(draw_side_view(mesh, view, record.box.is_right))
        files = {".png": encode(side_by_side(panels), ".png")}
        if self.options.save_mesh:
            for suffix, content in mesh_files(mesh.vertices, mesh.faces, mesh.rgb).items():
                files[f".{suffix}"] = content
        if self.options.tokens:
            seen = self.job.crops[index]
            drawn = draw_stages(seen, self.job.predictions[index].slots, self.grid)
            files["_tokens.png"] = encode(drawn, ".png")
        return files

    def _full_frame(self) -> NDArray[np.uint8]:
        drawn = draw_meshes(self.image, [self.mesh(record) for record in self.records], self.view)
        longest = max(drawn.shape[:2])
        if longest <= JPEG_LIMIT_PX:
            return drawn
        import cv2

        factor = JPEG_LIMIT_PX / longest
        smaller = cv2.resize(drawn, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        return np.asarray(smaller, np.uint8)

    def _require_finite(self) -> None:
        for index, record in enumerate(self.records):
            bad = [name for name, value in record.values.items() if not np.isfinite(value).all()]
            if bad:
                raise InputError(
                    f"the model gave numbers that are not finite for hand {index} of "
                    f"{self.job.loaded.source.name} ({', '.join(bad)}): try --dtype float32, or another "
                    "checkpoint."
                )


def crop_picture(
    image: NDArray[np.uint8], box: tuple[float, float, float, float], size_px: int
) -> NDArray[np.uint8]:
    """A square of an image at another size, cut like the model's crops, not normalised or mirrored."""
    crop = hand_crop(image, box, True, rescale_factor=1.0, image_size=size_px, aspect=None)
    return denormalise(crop.img)
