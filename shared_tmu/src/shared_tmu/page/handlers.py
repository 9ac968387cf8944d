"""What happens when a user changes something: from the values of the page's controls to what it shows."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared_tmu.errors import InputError, TMUError
from shared_tmu.page import texts
from shared_tmu.page.catalog import SAMPLES, Catalog
from shared_tmu.page.estimate import FIND, LEFT, RIGHT, SUFFIXES, WHOLE, Ask, Display, estimate

Results = tuple[Any, ...]
"""Report, overlay, merged tokens, mesh, block by block, one file per suffix, and the folders of results."""


@dataclass(frozen=True)
class Adapted:
    """What the controls offer for a model.

    Attributes:
        highest: highest place of the slider.
        layers: blocks in which tokens merge.
        step: its place now.
        masks, places: choices, as pairs of a label and a value.
        samples: files.
        picture: the file to estimate.
    """

    highest: int
    layers: int
    step: int
    masks: list[tuple[str, str]]
    places: list[tuple[str, str]]
    samples: list[Path]
    picture: str | None


class Handlers:
    """The page's reactions; everything of one user is in the arguments.

    Args:
        catalog: the models.
        folder: where results are written, in a folder of their own each.
    """

    def __init__(self, catalog: Catalog, folder: Path) -> None:
        self.catalog, self.folder = catalog, folder

    def run(
        self, picture: str | None, name: str, step: float, mask: str, where: str, old: tuple[str, ...] = ()
    ) -> Results:
        """Estimate, and say in one sentence if that is not possible.

        `old` are the folders of this user's earlier results: the newest stays, as it is still on the page.
        """
        remove(old[:-1])
        if not picture:
            return _nothing(old[-1:], texts.waiting(texts.CHOOSE))
        own = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            entry = self.catalog.entry(name)
            shown = estimate(entry, Ask(self._of_page(picture), _whole(step), mask, where), own)
            return _shown(texts.report(entry, shown), shown, (*old[-1:], str(own)))
        except TMUError as error:
            remove((str(own),))
            return _nothing(old[-1:], texts.problem(error))

    def adapt(self, name: str, picture: str | None, step: float) -> Adapted:
        """What the controls offer for another model; pictures of users stay.

        Raises:
            TMUError: the model cannot be loaded, or the picture is not of this page.
        """
        if picture is not None:
            self._of_page(picture)
        samples = self.catalog.samples(name)
        entry = self.catalog.entry(name)
        highest = len(entry.schedules) - 1
        others = {path.name for other in self.catalog.names for path in self.catalog.samples(other)}
        others -= {path.name for path in samples}
        if samples and (picture is None or Path(picture).name in others):
            picture = str(samples[0])
        masks, places = self.catalog.masks(name), self.places(name)
        now = min(_whole(step), highest)
        return Adapted(highest, entry.layers, now, masks, places, samples, picture)

    def _of_page(self, picture: str) -> Path:
        """A picture that was uploaded or is a sample: a forged request can name any file of this machine.

        Raises:
            InputError: it is neither, or uploads of its age were deleted.
        """
        path = Path(picture).resolve()
        if not any(path.is_relative_to(folder.resolve()) for folder in (self.folder, SAMPLES)):
            raise InputError("this picture was not uploaded to this page: upload it, or choose a sample.")
        if not path.is_file():
            raise InputError("this picture was deleted meanwhile: upload it again, or choose a sample.")
        return path

    def places(self, name: str) -> list[tuple[str, str]]:
        """Choices of where hands or people are, as pairs of a label and a value."""
        if self.catalog.is_of_people(name):
            return [("find people", FIND), ("one person fills it", WHOLE)]
        return [("find hands", FIND), ("a right hand fills it", RIGHT), ("a left hand fills it", LEFT)]

    def sample(self, name: str, index: int) -> str:
        """A sample by its place."""
        return str(self.catalog.samples(name)[index])


def remove(folders: tuple[str, ...]) -> None:
    """Delete earlier results, or those of a user who has left."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _whole(step: float) -> int:
    """A place of the slider."""
    if step != int(step):
        raise InputError(f"the slider was at {step}: it has whole numbers only.")
    return int(step)


def _shown(report: str, shown: Display, folders: tuple[str, ...]) -> Results:
    files = [shown.files.get(suffix) for suffix in SUFFIXES]
    paths = [None if file is None else str(file) for file in files]
    mesh = paths[SUFFIXES.index("glb")]
    return (report, shown.overlay, shown.merged, mesh, shown.strips, *paths, folders)


def _nothing(folders: tuple[str, ...], report: str) -> Results:
    return (report, None, None, None, None, *(None for _ in SUFFIXES), folders)
