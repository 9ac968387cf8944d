"""The installed models, loaded when a user first chooses them, with the settings that the page offers."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from shared_tmu.api import Hand, MeshModel, Person, load_model
from shared_tmu.errors import InputError
from shared_tmu.masks import AUTO, NO_MASK, MaskPlace, mask_names
from shared_tmu.programs.estimates import BODY
from shared_tmu.programs.model_program import MODELS, ModelProgram, find_program
from shared_tmu.schedule import Schedule

SAMPLES = Path(__file__).resolve().parent / "samples"
SHARE = 2  # tokens merge in the first half of the blocks

MASK_LABELS = {
    AUTO: "the model's own choice",
    NO_MASK: "none, as published",
    "landmarks": "landmarks of the detector",
    "box": "box",
    "probe": "probe, read from the tokens",
    "attention": "attention",
    "segmentation": "segmentation of the person",
}


@dataclass(frozen=True)
class Entry:
    """A model of the page.

    Attributes:
        program: its description.
        model: loaded, keeping crops.
    """

    program: ModelProgram
    model: MeshModel[Any]

    @property
    def tokens(self) -> int:
        """Patch tokens of a crop."""
        return math.prod(self.model.grid)

    @property
    def layers(self) -> int:
        """The first blocks, in which the slider lets tokens merge."""
        return max(1, self.model.depth // SHARE)

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """What the slider offers: off, then one token more per block, as long as every block can merge so
        many.
        """
        found = [Schedule.parse("off")]
        for r in range(1, self.tokens):
            schedule = Schedule.parse(f"{r}x{self.layers}")
            if self.left(schedule) != self.tokens - r * self.layers:
                break
            found.append(schedule)
        return tuple(found)

    @property
    def start(self) -> int:
        """Place of the slider at first: about two thirds."""
        return 2 * len(self.schedules) // 3

    def schedule(self, step: int) -> Schedule:
        """The schedule of a place of the slider.

        Raises:
            InputError: there is no such place.
        """
        if not 0 <= step < len(self.schedules):
            raise InputError(f"the slider was at {step}: it goes from 0 to {len(self.schedules) - 1}.")
        return self.schedules[step]

    def left(self, schedule: Schedule) -> int:
        """Patch tokens that are left after the last block."""
        return schedule.token_counts(self.model.depth, self.tokens)[-1]


class Catalog:
    """The models that are installed.

    Args:
        device: where they run.
        only: names of the models to offer; empty for all.

    Raises:
        InputError: no model is installed, or none of this name.
    """

    def __init__(self, device: str = "auto", only: tuple[str, ...] = ()) -> None:
        installed = sorted({entry.name for entry in entry_points(group=MODELS)})
        found = [find_program(name) for name in only or installed]
        if not found:
            raise InputError("no model is installed: pip install ./HaMeR_TMU, or another *_TMU folder.")
        self.device = device
        self.programs = {program.name: program for program in found}
        self._loaded: dict[str, Entry] = {}
        self._loading = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models, as results call them."""
        return tuple(self.programs)

    def entry(self, name: str) -> Entry:
        """A model by name, loaded once.

        Raises:
            TMUError: there is no such model, or it cannot be loaded.
        """
        program = self.program(name)
        with self._loading:
            if name not in self._loaded:
                kind: type[Any] = Person if self.is_of_people(name) else Hand
                given = {"r": "1", "device": self.device, "tokens": True}
                self._loaded[name] = Entry(program, load_model(program, kind, given))
            return self._loaded[name]

    def program(self, name: str) -> ModelProgram:
        """The description of a model.

        Raises:
            InputError: there is no such model.
        """
        if name not in self.programs:
            raise InputError(f"there is no model {name!r}: choose one of {', '.join(self.names)}.")
        return self.programs[name]

    def is_of_people(self, name: str) -> bool:
        """Whether a model estimates people rather than hands."""
        return self.program(name).estimates.name == BODY.name

    def masks(self, name: str) -> list[tuple[str, str]]:
        """Masks for single pictures, as pairs of a label and the name of `--mask`."""
        place = MaskPlace(self.program(name).estimates.name, has_truth=False, is_video=False)
        return [(MASK_LABELS.get(mask, mask), mask) for mask in (AUTO, *mask_names(place))]

    def samples(self, name: str) -> list[Path]:
        """Our own renders that the model can be tried on."""
        return sorted((SAMPLES / self.program(name).estimates.name).glob("*.jpg"))
