"""What a model estimated in one image: in the camera frame of the whole image, ready to save and to draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from shared_tmu.demo.batching import Job
from shared_tmu.demo.subjects import DemoSubject, Faces
from shared_tmu.errors import InputError
from shared_tmu.masks import NO_MASK
from shared_tmu.pictures.overlays import Mesh, View
from shared_tmu.programs.tables import ImageCamera, Record, to_npz


@dataclass(frozen=True, eq=False)
class Estimated:
    """The hands or people of one image.

    Attributes:
        subject: which of the two.
        camera: camera of the whole image.
        faces: triangles of the model's mesh, for hands those of a right one, `[F, 3]`.
        records: one per hand or person.
    """

    subject: DemoSubject
    camera: ImageCamera
    faces: Faces
    records: tuple[Record, ...]

    @classmethod
    def of(cls, job: Job, subject: DemoSubject, faces: Faces, focal_px: float | None) -> Self:
        """From an image whose crops are all predicted; `focal_px`: see `DemoOptions`.

        Raises:
            InputError: the model gave numbers that are not finite, or put one of them behind the camera.
        """
        camera = ImageCamera.of_image(*job.size_px, focal_px)
        records = tuple(
            subject.record(prediction.output, box, crop, camera)
            for prediction, box, crop in zip(job.predictions, job.detection.boxes, job.crops, strict=True)
        )
        for index, record in enumerate(records):
            require_sound(record, f"{subject.one} {index} of {job.source.name}")
        return cls(subject, camera, faces, records)

    @property
    def view(self) -> View:
        """The camera as a view for drawing over the whole image."""
        camera = self.camera
        return View(camera.focal_px, camera.principal_point_px, camera.width, camera.height)

    def mesh(self, record: Record) -> Mesh:
        """The mesh of a record in the camera frame, with outward faces."""
        return self.subject.mesh(record, self.faces)

    @property
    def meshes(self) -> list[Mesh]:
        """The meshes of all records."""
        return [self.mesh(record) for record in self.records]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays of the image, those of the subject's table."""
        return self.subject.image_arrays(self.records, self.camera, self.faces)

    def parameters(self, facts: Mapping[str, Any]) -> dict[str, bytes]:
        """The same as files, `npz` and `json`; `facts`: see `Table.to_json`."""
        arrays = self.arrays()
        return {"npz": to_npz(arrays), "json": self.subject.table.to_json(arrays, facts)}

    def only(self, index: int) -> Estimated:
        """One hand or person alone."""
        return replace(self, records=(self.records[index],))


def facts_of_image(job: Job, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the `.json` of an image says besides its table: `facts` are those of the whole run."""
    masks = [NO_MASK if mask is None else mask.source for mask in job.masks]
    return {"image": job.source.name, **facts, "masks": masks}


def require_sound(record: Record, whose: str) -> None:
    """Refuse a record that no picture can show.

    Raises:
        InputError: it has numbers that are not finite, or lies behind the camera; the message says `whose` it
            is.
    """
    bad = [name for name, value in record.values.items() if not np.isfinite(value).all()]
    if bad:
        raise InputError(
            f"the model gave numbers that are not finite for {whose} ({', '.join(bad)}): try "
            "--dtype float32, or another checkpoint."
        )
    depths_m = record.values["joints_3d_m"][:, 2] + record.values["translation_m"][2]
    if depths_m.mean() <= 0:
        raise InputError(
            f"the model put {whose} behind the camera (at {depths_m.mean():.3g} m): try --dtype float32, or "
            "another checkpoint."
        )
