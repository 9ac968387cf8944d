"""Saved parameters as tables: the meaning of each name is written once, in the docstring of a records
module."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.pictures.geometry import CROP_PX, FOCAL_PX

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Field:
    """A saved name, as a table describes it."""

    name: str
    shape: str
    unit: str
    meaning: str

    def nothing(self) -> NDArray[Any]:
        """The array for an image in which nothing was found, `[0, ...]`."""
        sizes = [int(size) for size in self.shape.strip("[]").split(",")[1:]]
        return np.zeros((0, *sizes), bool if self.name.startswith("is_") else np.float64)


@dataclass(frozen=True)
class Table:
    """All names that are saved for an image.

    Attributes:
        fields: the names, in order.
        per_image: names that an image has once; the first dimension of all others is the hand or person.
        npz_only: names that are too large for the `.json`.
        many: name of the list of hands or people in the `.json`.
        extra: further entries of every `.json`, such as names of joints.
    """

    fields: tuple[Field, ...]
    per_image: tuple[str, ...]
    npz_only: tuple[str, ...]
    many: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def per_item(self) -> tuple[Field, ...]:
        """The names that every hand or person has."""
        return tuple(one for one in self.fields if one.name not in self.per_image)

    def arrays(self, records: Sequence[Record], once: Arrays) -> dict[str, NDArray[Any]]:
        """All arrays of one image, in the order of the table.

        Args:
            records: what was found.
            once: the values of `per_image`.
        """
        arrays = dict(once)
        for one in self.per_item:
            stacked = [record.values[one.name] for record in records]
            arrays[one.name] = np.stack(stacked) if stacked else one.nothing()
        return {one.name: arrays[one.name] for one in self.fields}

    def to_json(self, arrays: Arrays, facts: Mapping[str, Any]) -> bytes:
        """The `.json`: `facts` about the image and the model, `fields`, and the hands or people one by one
        (unless all their values are in the `.npz` only).
        """
        kept = [one for one in self.fields if one.name not in self.npz_only]
        items = [one.name for one in kept if one.name not in self.per_image]
        content: dict[str, Any] = dict(facts)
        content |= {one.name: arrays[one.name].tolist() for one in kept if one.name in self.per_image}
        if items:
            count = len(arrays[items[0]])
            content[self.many] = [
                {name: arrays[name][index].tolist() for name in items} for index in range(count)
            ]
        content |= self.extra
        content["fields"] = {
            one.name: {
                "shape": one.shape,
                "unit": one.unit,
                "meaning": one.meaning,
                "where": "npz" if one.name in self.npz_only else "npz and json",
            }
            for one in self.fields
        }
        return (_layout(content, 3) + "\n").encode()


def parse_fields(doc: str | None) -> tuple[Field, ...]:
    """The rows of the Markdown table in a docstring."""
    rows = re.findall(r"^\| (\w+) \| ([^|]+) \| ([^|]*) ?\| (.+) \|$", doc or "", re.MULTILINE)
    return tuple(Field(*(part.strip() for part in row)) for row in rows if row[0] != "name")


@dataclass(frozen=True)
class Record:
    """One predicted hand or person in the whole image's camera frame, with the values of the table."""

    box: Any
    values: Mapping[str, NDArray[Any]]

    @property
    def vertices_camera_m(self) -> NDArray[np.float64]:
        """Mesh in the camera frame, `[V, 3]`."""
        return np.asarray(self.values["vertices_m"] + self.values["translation_m"])


@dataclass(frozen=True)
class ImageCamera:
    """The pinhole camera that is assumed for a whole image."""

    width: int
    height: int
    focal_px: float

    @classmethod
    def of_image(cls, width: int, height: int, focal_px: float | None) -> ImageCamera:
        """The camera of an image; without a focal length 5000 / 256 times the longer side, as published."""
        return cls(width, height, focal_px or FOCAL_PX / CROP_PX * max(width, height))

    @property
    def principal_point_px(self) -> tuple[float, float]:
        """(x, y), half the width and height, as published."""
        return self.width / 2, self.height / 2

    def project(self, points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Points `[N, 3]` in the camera frame to pixels `[N, 2]`."""
        points = points.astype(np.float64)
        return np.asarray(points[:, :2] / points[:, 2:] * self.focal_px + self.principal_point_px)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What every table holds once per image: `image_size_px`, `focal_px`, `principal_point_px`,
        `camera_matrix`.
        """
        (cx, cy), f = self.principal_point_px, self.focal_px
        return {
            "image_size_px": np.array([self.width, self.height], np.int64),
            "focal_px": np.array(f, np.float64),
            "principal_point_px": np.array([cx, cy]),
            "camera_matrix": np.array([[f, 0.0, cx], [0.0, f, cy], [0.0, 0.0, 1.0]]),
        }


def to_npz(arrays: Arrays) -> bytes:
    """The `.npz`; the same bytes for the same arrays."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _layout(value: Any, depth: int, indent: str = "") -> str:
    """JSON with one item per line in the outer `depth` levels and the rest compact."""
    deeper = indent + "  "
    if depth and isinstance(value, dict) and value:
        items = [f"{json.dumps(key)}: {_layout(item, depth - 1, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(deeper + item for item in items) + f"\n{indent}}}"
    if depth and isinstance(value, list) and value and isinstance(value[0], dict):
        items = [_layout(item, depth - 1, deeper) for item in value]
        return "[\n" + ",\n".join(deeper + item for item in items) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)
