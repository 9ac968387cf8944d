"""The error at every vertex on the surface, for the unpatched model, merge-only and TMU."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bundled import BUNDLED, Bundled
from numpy.typing import NDArray

from figure_parts.sheets import body_scene, posture_scene
from figure_parts.style import new_figure, show
from figure_parts.surface import paint
from figure_parts.table import Figure
from shared_tmu.errors import InputError
from shared_tmu.synth.body.model import synth_body
from shared_tmu.synth.body.placing import place_body
from shared_tmu.synth.generator import place_hand
from shared_tmu.synth.hand import synth_hand
from shared_tmu.synth.scene import UPRIGHT_BACK

Array = NDArray[np.float64]


@dataclass(frozen=True)
class VertexErrors:
    """What `measure_vertices.py` wrote.

    Args:
        facts: model, set, number of samples and what else the result depends on.
        labels: ways; the first is `off`.
        error_mm: mean distance of every vertex after Procrustes alignment, `[len(labels), V]`.
    """

    facts: dict[str, Any]
    labels: list[str]
    error_mm: Array


def read(path: Path) -> VertexErrors:
    """Read a result file.

    Raises:
        InputError: it is not one of `measure_vertices.py`.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            facts = json.loads(str(found["facts"]))
            labels = [str(x) for x in found["labels"]]
            return VertexErrors(facts, labels, found["error_mm"].astype(np.float64))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a result of measure_vertices.py: measure it again.") from error


def draw(found: VertexErrors, views: Sequence[Array], faces: NDArray[Any], size: tuple[int, int]) -> Any:
    """Above the error of each way, below its rise over `off`.

    Args:
        found: errors by vertex.
        views: the mesh in the camera frame, from several sides; they are drawn side by side.
        faces: triangles.
        size: height and width of a view, pixels.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize, TwoSlopeNorm

    count = len(found.labels)
    rise = found.error_mm[1:] - found.error_mm[0]
    reach = float(max(1e-6, np.percentile(np.abs(rise), 99.5)))
    norms = Normalize(0, float(np.percentile(found.error_mm, 99.5))), TwoSlopeNorm(0.0, -reach, reach)
    maps = colormaps["viridis"], colormaps["PuOr_r"]
    figure = new_figure(0.75 + 2 * 7.2 / count * size[0] / (len(views) * size[1]))
    figure.suptitle(f"{found.facts['model']}-Thin on {found.facts['dataset']}, n = {found.facts['n']}")
    panels = figure.subplots(2, count)
    for column, label in enumerate(found.labels):
        for row, values in enumerate((found.error_mm[column], found.error_mm[column] - found.error_mm[0])):
            axes = panels[row, column]
            if row and not column:
                axes.set_axis_off()
                continue
            rgb = maps[row](norms[row](values))[:, :3]
            show(axes, np.concatenate([paint(view, faces, rgb, size) for view in views], axis=1))
            more = f"mean {values.mean():.1f} mm" if not row else f"mean {values.mean():+.1f} mm"
            axes.set_title(f"{label}\n{more}" if not row else more)
    for row, label in enumerate(("error (mm)", "rise over off (mm)")):
        shown = ScalarMappable(norm=norms[row], cmap=maps[row])
        figure.colorbar(
            shown, ax=panels[row, :], label=label, extend="max" if not row else "both", shrink=0.85
        )
    return figure


def views_of(model: Bundled) -> tuple[list[Array], NDArray[Any], tuple[int, int]]:
    """Views of the surface from both sides, its triangles, and the size of a view."""
    if model.subject == "hand":
        palm = UPRIGHT_BACK @ np.diag([1.0, -1.0, -1.0])
        meshes = [place_hand(posture_scene("flat", view, 0)).vertices for view in (UPRIGHT_BACK, palm)]
        return [mesh.astype(np.float64) for mesh in meshes], synth_hand().faces, (240, 180)
    people = [place_body(body_scene("standing", turn, 0)).vertices for turn in (0.0, 180.0)]
    return [mesh.astype(np.float64) for mesh in people], synth_body().faces, (330, 140)


def rows() -> list[Figure]:
    """A figure for each bundled model."""
    found = []
    for model in BUNDLED.values():
        name = f"{model.stem}_vertices.npz"

        def draw_one(folder: Path, model: Bundled = model, name: str = name) -> Any:
            return draw(read(folder / name), *views_of(model))

        about = f"{model.name}: error at every vertex, off, merge-only and TMU"
        found.append(Figure("vertices", f"{model.stem}_vertices", about, (name,), draw_one))
    return found
