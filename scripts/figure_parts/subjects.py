"""The sample pictures with what is known of them, and a bundled model's predictions for them.

Samples are renders, so their true meshes are known: the scene is placed again, without drawing it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundled import REPOSITORY, Bundled
from numpy.typing import NDArray

from figure_parts.sheets import BODY_PICTURE, HAND_PICTURE, PEOPLE, SAMPLES, people_scene, sample_hand
from shared_tmu.demo.predict import Prediction, Predictor
from shared_tmu.demo.saving import crop_picture
from shared_tmu.detect import HandBox
from shared_tmu.detect.base import PersonBox
from shared_tmu.metrics import align_similarity
from shared_tmu.pictures.images import read_image
from shared_tmu.pictures.overlays import View, draw_meshes
from shared_tmu.programs.model_program import BASELINE, Run, find_program
from shared_tmu.programs.tables import ImageCamera
from shared_tmu.synth.body.placing import frame_body, place_body
from shared_tmu.synth.generator import frame_hand, place_hand

Rgb = NDArray[np.uint8]
CLOSER = {"hand": 0.75, "body": 1.0}
"""Side of a close-up over that of the crop."""


@dataclass(frozen=True)
class Sample:
    """One sample picture.

    Args:
        path: the picture.
        box: around its hand or person.
        true_m: the true mesh as the model sees it: of a right hand, `[V, 3]` metres.
    """

    path: Path
    box: Any
    true_m: NDArray[np.float64]


def hand_sample(number: int) -> Sample:
    """A sample of a hand, counted from 1."""
    index = SAMPLES[number - 1]
    scene = sample_hand(index)
    hand = place_hand(scene)
    points = frame_hand(scene, hand, *HAND_PICTURE).project(hand.vertices)
    if index < 0:
        points[:, 0] = HAND_PICTURE[0] - 1 - points[:, 0]
    side = "left" if index < 0 else "right"
    path = REPOSITORY / "assets" / "samples" / f"synthhand_{number}_{side}.jpg"
    return Sample(path, HandBox(_box(points), index > 0), hand.vertices.astype(np.float64))


def person_sample(number: int) -> Sample:
    """A sample of a person, counted from 1."""
    scene = people_scene(PEOPLE[number - 1])
    body = place_body(scene)
    points = frame_body(scene, body, *BODY_PICTURE).project(body.vertices)
    path = REPOSITORY / "assets" / "samples_people" / f"synthbody_{number}.jpg"
    return Sample(path, PersonBox(_box(points)), body.vertices.astype(np.float64))


def _box(points: NDArray[np.floating[Any]]) -> tuple[float, float, float, float]:
    (x1, y1), (x2, y2) = (points.min(axis=0).tolist(), points.max(axis=0).tolist())
    return x1, y1, x2, y2


class Bench:
    """A bundled model that predicts samples in several ways, on the CPU.

    Args:
        model: which.
        record: keep where tokens went.
    """

    def __init__(self, model: Bundled, record: bool = False) -> None:
        self.program = find_program(model.stem)
        self.net = self.program.load_model(None).eval()
        cpu = torch.device("cpu")
        self.predictor = Predictor(self.program, self.net, BASELINE, cpu, record=record, packed=False)
        self.subject = self.predictor.subject
        self.faces = self.program.estimates.faces(self.net)

    def sample(self, number: int) -> Sample:
        """A sample of what the model estimates."""
        return hand_sample(number) if self.program.estimates.name == "hand" else person_sample(number)

    def crop(self, sample: Sample) -> Any:
        """The model's input for a sample."""
        scale = self.subject.scale_of(self.net)
        return self.subject.crop(read_image(sample.path).bgr, sample.box, scale, self.predictor.input_size)

    def predict(self, crops: Sequence[Any], run: Run) -> list[Prediction]:
        """Predictions for crops."""
        return self.predictor.predict([crop.img for crop in crops], run=run)

    def error_mm(self, sample: Sample, prediction: Prediction) -> float:
        """PA-MPVPE of one prediction."""
        mesh = self.subject.mesh_of(prediction.output)
        is_hand = self.program.estimates.name == "hand"
        moved = align_similarity(mesh, sample.true_m, reflection=is_hand)
        return float(1000 * np.linalg.norm(moved - sample.true_m, axis=-1).mean())

    def close_up(self, sample: Sample, crop: Any, prediction: Prediction | None, size_px: int) -> Rgb:
        """The middle of what the model saw, a square for hands, 3:4 for people, with a mesh over it."""
        image = read_image(sample.path).bgr
        (x, y), side = self.subject.square(crop)
        side *= CLOSER[self.program.estimates.name]
        box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
        picture = crop_picture(image, box, size_px)
        if prediction is not None:
            camera = ImageCamera.of_image(image.shape[1], image.shape[0], None)
            record = self.subject.record(prediction.output, sample.box, crop, camera)
            view = View(camera.focal_px, camera.principal_point_px, camera.width, camera.height)
            mesh = self.subject.mesh(record, self.faces)
            picture = draw_meshes(picture, [mesh], view.zoom((x, y), side, size_px))
        cut = size_px // 8 if self.program.estimates.name == "body" else 0
        return np.ascontiguousarray(picture[:, cut : size_px - cut, ::-1])
