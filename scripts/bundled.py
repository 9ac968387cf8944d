"""The bundled models: paths of their programs, weights and published results."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Bundled:
    """One model folder.

    Args:
        name: name in result lines and in `assets/thesis_curves.csv`.
        folder: folder of its programs.
        stem: beginning of its file names in `assets`.
        weights: file name.
        dataset: the set that is rendered on first use.
        task_tokens: whether it has task tokens before the patch tokens, so that `--protect last` makes a
            difference.
        photos: whether eval.py measures it on photographs.
        aims_mm: target errors of the weights without merging, by name.
    """

    name: str
    folder: Path
    stem: str
    weights: str
    dataset: str
    task_tokens: bool = True
    photos: bool = True
    aims_mm: Mapping[str, float] = field(default_factory=lambda: {"pa_mpvpe_mm": 6.0})

    @property
    def package(self) -> str:
        """Name of the package."""
        return f"{self.stem}_tmu"

    @property
    def checkpoint(self) -> Path:
        """Path of the weights."""
        return self.folder / "weights" / self.weights

    @property
    def subject(self) -> str:
        """What it estimates, `"hand"` or `"body"`."""
        return "hand" if self.dataset == "synthhand" else "body"

    def lines(self, what: str) -> Path:
        """A file of published lines, such as `synthhand`, `synthhand_controls` or `photos`."""
        return REPOSITORY / "assets" / f"{self.stem}_{what}.jsonl"

    @property
    def varied(self) -> str:
        """The same set with a photograph-like appearance."""
        return f"{self.dataset}-varied"

    @property
    def card_set(self) -> str:
        """The set on which the card's figures are measured: for hands, that whose scenes are the same on
        every machine.
        """
        return f"{self.dataset}-eval-2" if self.subject == "hand" else self.dataset

    @property
    def history(self) -> Path:
        """Errors of all weights so far, with the number of pictures that they were trained on."""
        return self.lines("history")

    def picture(self, what: str) -> Path:
        """A published figure, such as `merging`."""
        return REPOSITORY / "assets" / f"{self.stem}_{what}.png"

    def results(self, dataset: str) -> Path:
        """The file to which eval.py appends its lines."""
        return self.folder / "results" / f"{self.name}-{dataset}.jsonl".lower()


BUNDLED = {
    "hamer": Bundled(
        *("HaMeR", REPOSITORY / "HaMeR_TMU", "hamer", "hamer_thin.safetensors", "synthhand"),
        task_tokens=False,
    ),
    "wilor": Bundled("WiLoR", REPOSITORY / "WiLoR_TMU", "wilor", "wilor_thin.safetensors", "synthhand"),
    "smplest-x": Bundled(
        *("SMPLest-X", REPOSITORY / "SMPLest-X_TMU", "smplest_x", "smplest_x_thin.safetensors", "synthbody"),
        photos=False,
        aims_mm={"pa_mpvpe_mm": 45.0, "pa_mpvpe_hand_mm": 12.0},
    ),
}
"""Models by the name that users type."""


def parse_model(about: str | None, arguments: Sequence[str] | None) -> tuple[str, list[str]]:
    """The name in `--model`, and all flags but that one, for a program that reads them.

    Args:
        about: what the help says if there is no model.
        arguments: None reads the process's own.
    """
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False
    )
    parser.add_argument("--model", choices=BUNDLED, help="which of the bundled models")
    parser.add_argument("-h", "--help", action="store_true", help="with --model: all flags")
    given, more = parser.parse_known_args(arguments)
    if given.model is None and given.help:
        parser.print_help()
        raise SystemExit
    if given.model is None:
        parser.error(f"--model is missing: {', '.join(BUNDLED)}")
    return given.model, [*more, *(["--help"] if given.help else [])]


def aims_of(name: str) -> Mapping[str, float]:
    """The target errors of a model, by its name in result lines."""
    return next(model.aims_mm for model in BUNDLED.values() if model.name == name)
