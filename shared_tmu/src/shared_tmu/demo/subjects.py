"""How the demo detects, crops, saves and draws what a model estimates: hands or people.

There are two, `HANDS` and `PEOPLE`; the rest of the demo uses only the interface `DemoSubject`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from shared_tmu.detect import (
    DETECTORS,
    Detector,
    choose_detector,
    litert_files,
    make_detector,
    segmenter,
    vitdet,
    yolo,
)
from shared_tmu.detect.boxes import HAND_FORMAT, PERSON_FORMAT
from shared_tmu.detect.people import PEOPLE_DETECTORS, choose_people_detector, make_people_detector
from shared_tmu.masks import SKELETONS, MaskScene
from shared_tmu.pictures.body_crops import BBOX_RATIO, BodyCrop, body_crop
from shared_tmu.pictures.hand_crops import HandCrop, hand_crop
from shared_tmu.pictures.overlays import LEFT_RGB, RIGHT_RGB, Mesh
from shared_tmu.pictures.panels import denormalise, to_bgr
from shared_tmu.programs import body_records
from shared_tmu.programs import hand_records as records
from shared_tmu.programs.estimates import BODY, HAND, Estimate
from shared_tmu.programs.model_program import Run
from shared_tmu.programs.tables import ImageCamera, Record, Table

Image = NDArray[np.uint8]
Faces = NDArray[np.integer[Any]]
Output = Mapping[str, NDArray[np.float32]]
Square = tuple[tuple[float, float], float]
"""Centre (x, y) and side of a part of an image, pixels."""

BODY_RGB = RIGHT_RGB


class DetectorChoice(Protocol):
    """The part of the demo's options that selects the detector."""

    @property
    def detector(self) -> str:
        """The requested detector; may be `auto`."""

    @property
    def boxes(self) -> Path | None:
        """The boxes file."""

    @property
    def detector_dir(self) -> Path:
        """Folder of the detectors' files."""

    @property
    def run(self) -> Run:
        """The merging setting: its mask may need more from the detector."""

    @property
    def body_detector(self) -> str:
        """The detector of people, for detectors that find hands on people."""


class DemoSubject(Protocol):
    """What a model estimates: hands or people. Instances have no state and can be sent to other processes.

    Attributes:
        one, many: its name in messages and tables, singular and plural.
        detectors: choices of `--detector`.
        detector_help: help text of `--detector`.
        detector_files: files that `--detector auto` and masks look for in `--detector_dir`, as patterns.
        boxes_format: an example of a boxes file.
        scale: size of a crop relative to its box, if the model's configuration does not give it.
        table: names and meanings of the saved arrays.
    """

    one: str
    many: str
    detectors: tuple[str, ...]
    detector_help: str
    detector_files: tuple[str, ...]
    boxes_format: str
    scale: float
    table: Table

    def detector_name(self, options: DetectorChoice) -> str:
        """The detector that `options` select."""

    def make_detector(self, name: str, options: DetectorChoice, device: str) -> Detector:
        """Load a detector.

        Raises:
            TMUError: files or packages are missing, or options contradict each other.
        """

    def scale_of(self, model: nn.Module) -> float:
        """Size of a crop relative to its box, for this model."""

    def crop(self, image: Image, box: Any, scale: float, size: tuple[int, int]) -> Any:
        """Crop a box from an image; the result has `img`, `[3, h, w]`.

        Raises:
            InputError: the box cannot be cropped.
        """

    def scene(self, box: Any, crop: Any) -> MaskScene:
        """What the masks of a crop can be drawn from; coordinates are the crop's pixels."""

    def arrays(self, output: Mapping[str, Any]) -> dict[str, Tensor]:
        """The part of a model's output that is saved or drawn, `[B, ...]` each."""

    def mesh_of(self, output: Output) -> NDArray[np.float32]:
        """Vertices in one row of `arrays`, metres, for measuring how far merging moves them."""

    def record(self, output: Output, box: Any, crop: Any, camera: ImageCamera) -> Record:
        """The record of one row of `arrays`, in the whole image's camera frame."""

    def image_arrays(
        self, records: Sequence[Record], camera: ImageCamera, faces: Faces
    ) -> dict[str, NDArray[Any]]:
        """All arrays of one image, those of `table`."""

    def mesh(self, record: Record, faces: Faces) -> Mesh:
        """The mesh to draw and save: in the camera frame, with outward faces."""

    def square(self, crop: Any) -> Square:
        """The part of the image that a picture of one hand or person shows."""

    def turns_right(self, record: Record) -> bool:
        """The direction in which the side view turns."""

    def seen(self, crop: Any, grid: tuple[int, int]) -> Image:
        """The picture that the patches cover, BGR; mirrored if the model sees it so (see `is_mirrored`)."""

    def is_mirrored(self, crop: Any) -> bool:
        """Whether the model saw the crop mirrored."""


class Hands:
    """Hands, with MANO."""

    one, many = HAND.one, HAND.many
    detectors: tuple[str, ...] = DETECTORS
    detector_help = (
        "auto: boxes if --boxes is given, yolo or vitdet if their files and packages are installed, else "
        "mediapipe, or litert (the same models) where that is missing; whole-image: each picture is one "
        "right hand (add --rescale_factor 1 if it is already a crop)"
    )
    detector_files: tuple[str, ...] = (yolo.FILE_NAME, *vitdet.BODY_FILES.values(), *litert_files.PATTERNS)
    boxes_format = HAND_FORMAT
    scale = 2.0
    table = records.TABLE

    def detector_name(self, options: DetectorChoice) -> str:
        """See `DemoSubject`, also for all others."""
        if options.detector != "auto":
            return options.detector
        return choose_detector(options.detector_dir, options.boxes, options.body_detector)

    def make_detector(self, name: str, options: DetectorChoice, device: str) -> Detector:
        return make_detector(name, options.detector_dir, options.boxes, options.body_detector, device)

    def scale_of(self, model: nn.Module) -> float:
        return self.scale

    def crop(self, image: Image, box: Any, scale: float, size: tuple[int, int]) -> HandCrop:
        return hand_crop(image, box.box_xyxy, box.is_right, scale, size[0])

    def scene(self, box: Any, crop: Any) -> MaskScene:
        height, width = crop.img.shape[1:]
        to_picture, skeleton = crop.to_picture(width), SKELETONS[HAND.name]
        return MaskScene((height, width), to_picture, skeleton, box.box_xyxy, box.landmarks_px)

    def arrays(self, output: Mapping[str, Any]) -> dict[str, Tensor]:
        named = {name: output[name] for name in ("pred_cam", "pred_vertices", "pred_keypoints_3d")}
        return named | dict(output["pred_mano_params"])

    def mesh_of(self, output: Output) -> NDArray[np.float32]:
        return output["pred_vertices"]

    def record(self, output: Output, box: Any, crop: Any, camera: ImageCamera) -> Record:
        return records.make_record(output, box, crop, camera)

    def image_arrays(
        self, records_: Sequence[Record], camera: ImageCamera, faces: Faces
    ) -> dict[str, NDArray[Any]]:
        return records.image_arrays(records_, camera, faces)

    def mesh(self, record: Record, faces: Faces) -> Mesh:
        if record.box.is_right:
            return Mesh(record.vertices_camera_m, faces, RIGHT_RGB)
        return Mesh(record.vertices_camera_m, faces[:, ::-1], LEFT_RGB)

    def square(self, crop: Any) -> Square:
        return (float(crop.box_center[0]), float(crop.box_center[1])), float(crop.box_size)

    def turns_right(self, record: Record) -> bool:
        return bool(record.box.is_right)

    def seen(self, crop: Any, grid: tuple[int, int]) -> Image:
        picture = denormalise(crop.img)
        height, width = picture.shape[:2]
        shown = round(height * grid[1] / grid[0])  # the model removes columns on both sides
        left = (width - shown) // 2
        return picture[:, left : left + shown]

    def is_mirrored(self, crop: Any) -> bool:
        return not crop.right


class People:
    """People, with SMPL-X."""

    one, many = BODY.one, BODY.many
    detectors: tuple[str, ...] = PEOPLE_DETECTORS
    detector_help = (
        "auto: boxes if --boxes is given, yolo if its file and package are installed, else mediapipe; "
        "whole-image: each picture is one person (add --rescale_factor 1 if it is already a crop)"
    )
    detector_files: tuple[str, ...] = (yolo.PEOPLE_FILE_NAME, segmenter.FILE_NAME)
    boxes_format = PERSON_FORMAT
    scale = BBOX_RATIO
    table = body_records.TABLE

    def detector_name(self, options: DetectorChoice) -> str:
        """See `DemoSubject`, also for all others."""
        if options.detector != "auto":
            return options.detector
        return choose_people_detector(options.detector_dir, options.boxes)

    def make_detector(self, name: str, options: DetectorChoice, device: str) -> Detector:
        segments = "segmentation" in options.run.masks.names
        return make_people_detector(name, options.detector_dir, options.boxes, device, segments=segments)

    def scale_of(self, model: nn.Module) -> float:
        config: Any = model.config
        return float(config.bbox_ratio)

    def crop(self, image: Image, box: Any, scale: float, size: tuple[int, int]) -> BodyCrop:
        x1, y1, x2, y2 = box.box_xyxy
        # the published preprocessing would move such a box, so that it no longer fits the person
        return body_crop(image, (max(x1, 0.0), max(y1, 0.0), x2, y2), scale, size)

    def scene(self, box: Any, crop: Any) -> MaskScene:
        return MaskScene(
            *(crop.size, crop.to_picture, SKELETONS[BODY.name], box.box_xyxy, box.landmarks_px),
            silhouette=box.silhouette,
        )

    def arrays(self, output: Mapping[str, Any]) -> dict[str, Tensor]:
        return {name: values for name, values in output.items() if name not in ("img", "smplx_joint_proj")}

    def mesh_of(self, output: Output) -> NDArray[np.float32]:
        return output["smplx_mesh_cam"]

    def record(self, output: Output, box: Any, crop: Any, camera: ImageCamera) -> Record:
        return body_records.make_record(output, box, crop, camera)

    def image_arrays(
        self, records_: Sequence[Record], camera: ImageCamera, faces: Faces
    ) -> dict[str, NDArray[Any]]:
        return body_records.image_arrays(records_, camera, faces)

    def mesh(self, record: Record, faces: Faces) -> Mesh:
        return Mesh(record.vertices_camera_m, faces, BODY_RGB)

    def square(self, crop: Any) -> Square:
        x, y, width, height = (float(value) for value in crop.crop_xywh)
        return (x + width / 2, y + height / 2), max(width, height)

    def turns_right(self, record: Record) -> bool:
        return True

    def seen(self, crop: Any, grid: tuple[int, int]) -> Image:
        return to_bgr(crop.img)

    def is_mirrored(self, crop: Any) -> bool:
        return False


HANDS, PEOPLE = Hands(), People()


def demo_subject(estimates: Estimate) -> DemoSubject:
    """How the demo handles what such a model estimates."""
    subjects: dict[str, DemoSubject] = {HAND.name: HANDS, BODY.name: PEOPLE}
    return subjects[estimates.name]
