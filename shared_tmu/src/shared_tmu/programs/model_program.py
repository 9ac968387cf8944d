"""The description of a model folder that every program reads, its lookup by name, and a merging setting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import KW_ONLY, dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from shared_tmu.errors import InputError
from shared_tmu.layers import LayerRecipe, shortened
from shared_tmu.masks import NO_MASK, MaskChoice, TokenProbe, find_masks
from shared_tmu.method_parts.held import Holding
from shared_tmu.method_parts.protection import WEIGHT, weigh
from shared_tmu.method_parts.read_masks import GivenOrRead, ReadMask, Weighed
from shared_tmu.method_parts.restores import COPY
from shared_tmu.patching import PatchHandle
from shared_tmu.programs.estimates import HAND, Estimate
from shared_tmu.programs.features import FrameFeature
from shared_tmu.programs.program import Program
from shared_tmu.programs.random_models import build_random
from shared_tmu.schedule import Schedule
from shared_tmu.schedule_text import name_of
from shared_tmu.temporal.files import load_decoder, require_decoder_fit
from shared_tmu.temporal.smoothing.kinds import NO_SMOOTHING
from shared_tmu.trunk import Protect


class Enter(Protocol):
    """Prepares a patched model for a batch."""

    def __call__(self, pixels: Tensor | None, held: Holding | None = None) -> AbstractContextManager[None]:
        """To be entered around the call of the model; see `Run.applied`."""


@dataclass(frozen=True)
class ModelProgram(Program):
    """A model folder, described once: demo, evaluation, benchmark, export and training read it.

    Args:
        config: the model's configuration class; `config.official()` has the published sizes.
        build: makes an untrained model from a configuration and `estimates.load_bodies()`.
        save_model: writes a model to a `.safetensors` file, with its configuration beside it.
        narrow: function from a configuration to one with the same depth and a small width, for quick trials.
        estimates: what the model estimates.
        published: name of the file with the published training recipe; None if there is none.
        feature: what of each frame a temporal decoder reads.
    """

    _: KW_ONLY
    config: Any
    build: Callable[..., nn.Module]
    save_model: Callable[..., None]
    narrow: Callable[[Any], Any]
    estimates: Estimate = HAND
    published: str | None = None
    feature: FrameFeature | None = None

    @property
    def sizes(self) -> Mapping[str, Callable[[], nn.Module]]:
        """Models for timing, by name: on the CPU, in float32, in eval mode. The first is the default."""
        return {
            "vit-h": lambda: self.build_random(self.config.official()),
            "thin": lambda: self.load_model(None),
            "tiny": lambda: self.build_random(self.narrow(self.config.official())),
        }

    def build_random(self, config: Any) -> nn.Module:
        """A model with random weights: its speed does not depend on their values."""
        return build_random(lambda: self.build(config, *self.estimates.load_bodies()))

    @property
    def data_dir(self) -> Path:
        """The folder in which data and detectors are looked for: in the repository, or, for an installed
        model, the current folder.
        """
        return Path("data") if self._is_installed else self.folder.parent / "data"

    @property
    def results_dir(self) -> Path:
        """The folder for results of evaluations."""
        return Path("results") if self._is_installed else self.folder / "results"

    @property
    def _is_installed(self) -> bool:
        """Whether pip copied the folder into site-packages, where a user's files must not be written."""
        return self.folder.parent.name in ("site-packages", "dist-packages")


MODELS = "shared_tmu.models"
"""The group of entry points in which installed model packages declare themselves."""


def find_program(name: str) -> ModelProgram:
    """The installed model of this name; case and punctuation are ignored.

    Raises:
        InputError: no such model is installed; the message names those that are.
    """
    found = {_plain(entry.name): entry for entry in entry_points(group=MODELS)}
    if not found:
        raise InputError("no model is installed: pip install ./HaMeR_TMU, or another *_TMU folder.")
    if _plain(name) not in found:
        names = ", ".join(sorted(entry.name for entry in found.values()))
        raise InputError(f"there is no model {name!r}: use one of {names}.")
    program: ModelProgram = found[_plain(name)].load()
    return program


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


@dataclass(frozen=True)
class Run:
    """A merging setting; each gives one line of results.

    Args:
        schedule: tokens to remove per layer.
        method: row of `shared_tmu.METHODS`.
        unmerge: whether the full sequence is restored; False is the merge-only control.
        protect: which tokens are protected, see `shared_tmu.run_trunk`; `"last"` is a control.
        mask: which tokens merge last, see `shared_tmu.masks.find_masks`.
        learned: file with the method's trained parts, written by `handle.save_learned`; None for methods that
            learn nothing.
        layers: blocks of the model that are merged into one first; None keeps all blocks.
        probe: file of the probe, for masks that read it.
        weight: weight of tokens that surely show the subject; None for `background first`, see
            `method_parts.protection`.
        restore: row of `method_parts.restores.RESTORES`, how the full sequence is restored.
        hold: whether frames of a clip merge what earlier frames merged, where the program has clips.
        decoder: file of the temporal decoder that gives the poses of a clip; None for the model's head.
        smooth: how clips are smoothed, `temporal.smoothing.kinds`.
    """

    schedule: Schedule
    method: str
    unmerge: bool
    protect: Protect = "first"
    mask: str = NO_MASK
    learned: Path | None = None
    layers: LayerRecipe | None = None
    probe: Path | None = None
    weight: float | None = WEIGHT
    restore: str = COPY
    hold: bool = False
    decoder: Path | None = None
    smooth: str = NO_SMOOTHING

    @property
    def masks(self) -> MaskChoice:
        """The sources of its mask."""
        return find_masks(self.mask)

    @property
    def per_frame(self) -> Run:
        """The same without what is done to whole clips afterwards."""
        return replace(self, decoder=None, smooth=NO_SMOOTHING)

    @property
    def label(self) -> str:
        """For tables and files: `5x20`, `random-5x20`, `5x20-merge-only`, `8x16-mask-box`,
        `off-28-layers-3fa2` ..."""
        parts = [] if self.method == "tome" else [self.method]
        parts += [name_of(str(self.schedule)), *([] if self.unmerge else ["merge-only"])]
        parts += [] if self.restore == COPY else [f"restore-{self.restore}"]
        parts += [] if self.protect == "first" else [f"protect-{self.protect}"]
        parts += [] if self.mask == NO_MASK else [f"mask-{self.mask}"]
        rule = "first" if self.weight is None else f"weight-{self.weight:g}"
        parts += [] if self.mask == NO_MASK or self.weight == WEIGHT else [rule]
        parts += ["held"] if self.hold else []
        parts += [] if self.decoder is None else ["diffusion"]
        parts += [] if self.smooth == NO_SMOOTHING else [self.smooth]
        return "-".join([*parts, *([] if self.layers is None else [self.layers.name])])

    def shortened(self, program: Program, model: nn.Module) -> AbstractContextManager[None]:
        """`model` with the layers of this run, for a `with` block around everything else."""
        return shortened(program.blocks_of(model), self.layers)

    def patched(self, program: Program, model: nn.Module, *, record: bool = False) -> PatchHandle:
        """`model` patched this way, for a `with` block; its layers are those that it has now."""
        read = self.masks.read
        mask = None if read is None or read.reader is None else Weighed(read.reader(self.probe), self.weight)
        options: dict[str, Any] = {"unmerge": self.unmerge, "protect": self.protect, "restore": self.restore}
        options |= {"mask": mask, "certain": WEIGHT if self.weight is None else self.weight}
        handle = program.patch(model, self.schedule, self.method, record=record, **options)
        if self.learned is not None:
            try:
                handle.load_learned(self.learned)
            except BaseException:
                handle.remove()
                raise
        return handle

    def check(self, program: Program, model: nn.Module, batch_size: int = 1) -> None:
        """Check that the setting fits a model, and batches of so many images.

        Raises:
            TMUError: it does not fit, or its probe was trained for other weights.
        """
        with self.patched(program, model) as handle:
            may_pad = handle.settings.may_pad
        if may_pad and batch_size > 1:
            raise InputError(
                f"--no-unmerge with --r {self.schedule}: images keep different numbers of tokens, and in "
                f"batches of {batch_size} the head would read padding: use --batch_size 1, or leave out "
                "--no-unmerge."
            )
        if self.probe is not None:
            TokenProbe.for_model(self.probe, program.estimates.vit(model))
        if self.decoder is not None:
            require_decoder_fit(load_decoder(self.decoder)[1], model, self.decoder)

    @contextmanager
    def applied(
        self,
        program: Program,
        model: nn.Module,
        pixels: Tensor | None = None,
        held: Holding | None = None,
    ) -> Iterator[None]:
        """Like `patched`, with the layers of this run; `off` does not patch: it is the baseline itself.

        Args:
            program: description of the model.
            model: the model to run.
            pixels: pixels of this batch's crops that show their subjects, `[B, H, W]` bool; None for no
                masks.
            held: plans to use again, one name per crop; None for none.
        """
        with self.opened(program, model) as masked_with, masked_with(pixels, held):
            yield

    @contextmanager
    def opened(self, program: Program, model: nn.Module) -> Iterator[Enter]:
        """As `applied`, for several batches: a patch checks all blocks, so it is made once.

        Yields:
            From the `pixels` and held plans of a batch to what is to be entered around its call.
        """
        with self.shortened(program, model):
            if self.schedule.is_off:
                yield lambda pixels, held=None: nullcontext()
                return
            with self.patched(program, model) as handle:
                yield lambda pixels, held=None: masked(handle, program, model, pixels, self.weight, held)


def batch_mask(
    handle: PatchHandle,
    program: Program,
    model: nn.Module,
    pixels: Tensor | None,
    weight: float | None = WEIGHT,
) -> Tensor | ReadMask | None:
    """The mask of a batch: tokens that cover its subjects, or a mask that is read in the model; None for no
    mask.

    Args:
        handle: handle of a model patched by `Run.patched`.
        program: description of the model.
        model: the model, which knows the pixels of its tokens.
        pixels: pixels of the crops that show their subjects, `[B, H, W]` bool; crops without such a pixel use
            the mask that is read in the model, if there is one. None for no masks in pixels.
        weight: see `Run`.
    """
    read = handle.mask if isinstance(handle.mask, Weighed) else None
    if pixels is None:
        return read
    covered = program.estimates.cover(model, pixels)
    return weigh(covered, weight) if read is None else Weighed(GivenOrRead(covered, read.mask), weight)


@contextmanager
def masked(
    handle: PatchHandle,
    program: Program,
    model: nn.Module,
    pixels: Tensor | None,
    weight: float | None = WEIGHT,
    held: Holding | None = None,
) -> Iterator[None]:
    """Apply the `batch_mask` of these pixels, and the held plans of these crops."""
    mask = batch_mask(handle, program, model, pixels, weight)
    with (
        nullcontext() if mask is None else handle.masked(mask),
        nullcontext() if held is None else handle.holding(held.plans, held.names),
    ):
        yield


BASELINE = Run(Schedule.parse("off"), "tome", unmerge=True)
"""The unpatched model, with which every other run is compared."""
