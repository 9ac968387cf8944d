"""A loaded model that predicts pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar, overload

from shared_tmu.api import inputs
from shared_tmu.api.crops import Speed, require_kept
from shared_tmu.api.engine import Engine
from shared_tmu.api.inputs import Boxes, OnePicture, Sides
from shared_tmu.api.keywords import (
    MERGING,
    options_of,
    require_bool,
    require_count,
    require_known,
    require_positive,
)
from shared_tmu.api.results import Hand, Item, Person, PictureResult
from shared_tmu.api.stream import Call, Stream
from shared_tmu.errors import InputError
from shared_tmu.evaluation.budget.request import Budget
from shared_tmu.masks import NO_MASK
from shared_tmu.methods import find_method
from shared_tmu.programs.estimates import BODY
from shared_tmu.programs.model_program import ModelProgram, Run
from shared_tmu.schedule import Schedule

T = TypeVar("T", bound=Item)
# what `load` was given, and would be refused as of no use where ...
_OF_MERGING = ("mask", "background", "probe", "tokens")  # nothing merges
_OF_MASKS = ("background", "probe")  # nothing is masked
_OF_LOADING = ("calib", "calib_dir", "detector", "detector_dir", "body_detector")  # nothing is loaded
_chosen: ContextVar[tuple[_Choice, ...]] = ContextVar("settings of models", default=())


@dataclass
class _Choice:
    """The setting of one `at` block.

    Attributes:
        model: whose it is.
        run: the setting.
        is_over: whether the block has ended where it could not be taken back.
    """

    model: object
    run: Run
    is_over: bool = False


def load_model(program: ModelProgram, kind: type[T], given: Mapping[str, Any]) -> MeshModel[T]:
    """Load a model for a program.

    Args:
        program: description of the model.
        kind: what it finds, `Hand` or `Person`.
        given: keyword arguments of `load` by name, see `LoadOptions`.

    Raises:
        TMUError: an argument is unknown or invalid, or a file is missing or does not fit.
    """
    assert kind is (Person if program.estimates.name == BODY.name else Hand)
    return MeshModel(Engine(program, options_of(program, given)), kind, given)


class MeshModel(Generic[T]):
    """A model on its device, with a merging setting; `load` of a model folder makes it.

    Several threads may use it at once: the network and the detector each serve one of them at a time.
    """

    def __init__(self, engine: Engine, kind: type[T], given: Mapping[str, Any]) -> None:
        self._engine, self._kind, self._given = engine, kind, dict(given)

    def __repr__(self) -> str:
        return f"MeshModel({self._engine.program.name}, {self.setting!r}, {self._engine.options.device})"

    @property
    def setting(self) -> str:
        """How tokens merge now, in this thread, as in tables of results: `off`, `8x16-mask-probe` ..."""
        return self._run.label

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the patch tokens of a crop."""
        return self._engine.grid

    @property
    def depth(self) -> int:
        """Blocks of the ViT in which tokens can merge."""
        return self._engine.depth

    @contextmanager
    def at(self, r: Any = None, **changes: Any) -> Iterator[Self]:
        """Predict with another merging setting inside the `with` block, in this thread or async task only.

        Args:
            r: schedule, e.g. `"off"` or `"10x16"`; None for that of `load`.
            **changes: other arguments of `load` about merging: `method`, `mask`, ...

        Raises:
            TMUError: a value is invalid, or does not fit the model.
        """
        run = self._changed(r, changes)
        self._engine.check(run)
        choice = _Choice(self, run)
        token = _chosen.set((*_chosen.get(), choice))
        try:
            yield self
        finally:
            try:
                _chosen.reset(token)
            except ValueError:  # the block is in a generator that another thread closes
                choice.is_over = True

    @overload
    def predict(
        self, image: list[Any] | tuple[Any, ...], boxes: Any = None, sides: Any = None, *,
        bgr: bool = False, focal: float | None = None, strict: bool = True,
    ) -> list[PictureResult[T]]: ...  # fmt: skip
    @overload
    def predict(
        self, image: OnePicture, boxes: Boxes | None = None, sides: Sides | None = None, *,
        bgr: bool = False, focal: float | None = None, strict: bool = True,
    ) -> PictureResult[T]: ...  # fmt: skip
    @overload
    def predict(
        self, image: Iterator[Any], boxes: Any = None, sides: Any = None, *,
        bgr: bool = False, focal: float | None = None, strict: bool = True, hold: bool = False,
    ) -> Iterator[PictureResult[T]]: ...  # fmt: skip
    def predict(
        self, image: Any, boxes: Any = None, sides: Any = None, *,
        bgr: bool = False, focal: float | None = None, strict: bool = True, hold: bool = False,
    ) -> PictureResult[T] | list[PictureResult[T]] | Iterator[PictureResult[T]]:  # fmt: skip
        """Find the hands or people in one or several pictures, and estimate their meshes.

        Args:
            image: a path; an image of Pillow; an array `[H, W, 3]` uint8, RGB; a list of them; or an
                iterator of them, such as the frames of a video. Files and Pillow's images are rotated
                upright as their EXIF data says.
            boxes: boxes `[K, 4]`: left, top, right, bottom in pixels of the upright picture; None for what
                the detector finds. For several pictures one entry for each.
            sides: for boxes of hands, `"left"` or `"right"` for each (of the person); also `True` for right.
            bgr: arrays have their channels in the order BGR, as OpenCV's have.
            focal: focal length of the pictures in pixels; None for that of `load`.
            strict: raise the first problem with a picture or a box that was given; otherwise problems are in
                `problems` of the results, and the rest goes on. Boxes of the detector that cannot be used
                are always in `problems`.
            hold: for frames of an iterator: a hand or person keeps its merge plans from frame to frame while
                its crop looks roughly the same, so that meshes jump less. With `off` there are none.

        Returns:
            The result of the picture; a list of results for a list; for an iterator an iterator that reads
            it lazily and gives results in order, as soon as a batch of crops is full. If the given iterator
            raises an error, the results of the pictures before come first, then the error.

        Raises:
            InputError: pictures, boxes or sides are of another form, or cannot be used; see `strict`.
            HoldError: `hold` was asked for, and the method's plans cannot be held.
            MissingDependencyError: no boxes were given, and the detector is not installed.
        """
        for name, value in (("bgr", bgr), ("strict", strict), ("hold", hold)):
            require_bool(name, value)
        is_list, is_one = isinstance(image, list | tuple), inputs.is_one(image)
        call = Call(self._run, bgr, self._focal(focal), strict, are_frames=not (is_one or is_list), hold=hold)
        if hold and not call.are_frames:
            raise InputError("hold is for frames in order: pass an iterator of them, iter(images) of a list.")
        self._require_sensible(call.run, boxes, sides)
        stream = Stream(self._engine, self._kind, call)
        if is_one:
            (result,) = stream.results([inputs.one(image, boxes, sides)])
            return result
        if not is_list:
            return stream.results(inputs.several(image, boxes, sides))
        if not image:
            raise InputError("the list of pictures is empty: there is nothing to predict.")
        inputs.require_as_many("boxes", boxes, len(image))
        inputs.require_as_many("sides", sides, len(image))
        return list(stream.results(inputs.several(image, boxes, sides)))

    def measure(self, result: PictureResult[T], *, rounds: int = 10, budget_s: float = 10.0) -> Speed:
        """Time the network on the crops of a result, with this setting and unpatched, in turn.

        Others who use the model wait meanwhile. At most `batch_size` crops are timed, as one batch.

        Args:
            result: of this model, loaded with `tokens=True`.
            rounds: how often each is timed.
            budget_s: stop after so many seconds, but not before five rounds.

        Raises:
            InputError: the result keeps no crops, or is of another model.
        """
        if not isinstance(result, PictureResult):
            raise InputError(
                f"measure takes the result of a picture, not an object of type {type(result).__name__}."
            )
        name = self._engine.program.name
        if result.model != name:
            raise InputError(f"measure of {name} was given a result of {result.model}: pass one of its own.")
        require_count("rounds", rounds)
        require_positive("budget_s", budget_s, "seconds")
        require_kept(result.crops, "measure")
        crops = result.crops[: self._engine.options.batch_size]
        return self._engine.measure(crops, self._run, rounds, budget_s)

    @property
    def _run(self) -> Run:
        """The setting of the innermost `at` of this thread, or of `load`."""
        chosen = (one.run for one in reversed(_chosen.get()) if one.model is self and not one.is_over)
        return next(chosen, self._engine.options.run)

    def _changed(self, r: Any, changes: dict[str, Any]) -> Run:
        """The setting of `at`."""
        require_known(changes, MERGING, "at")
        given = {**self._given, **({} if r is None else {"r": r})}
        unused: tuple[str, ...] = _OF_LOADING
        if r is not None and not _is_search(r) and Schedule.parse(r).is_off:
            unused += _OF_MERGING
        elif changes.get("mask") == NO_MASK or _mixes({**given, **changes}.get("method")):
            unused += _OF_MASKS
        given = {name: value for name, value in given.items() if name not in unused}
        options = options_of(self._engine.program, {**given, **changes})
        if options.budget is not None:
            raise InputError("at takes a schedule, and only load searches one: give r, such as '8x16'.")
        return options.run

    def _focal(self, given: Any) -> float | None:
        if given is None:
            return self._engine.options.focal_px
        require_positive("focal", given, "the focal length in pixels")
        return float(given)

    def _require_sensible(self, run: Run, boxes: object, sides: object) -> None:
        """Refuse what boxes of the caller do not go with."""
        if boxes is None and sides is not None:
            raise InputError("sides were given without boxes: they belong to boxes, give both or none.")
        if self._kind is Person and sides is not None:
            raise InputError(
                f"sides were given, but {self._engine.program.name} finds people: leave them out."
            )
        if boxes is not None and "segmentation" in run.masks.names:
            raise InputError(
                "boxes were given, and mask 'segmentation' needs what the detector finds: leave the boxes "
                "out, or use another mask."
            )


def _mixes(method: Any) -> bool:
    return method is not None and find_method(str(method)).mixes


def _is_search(r: Any) -> bool:
    return isinstance(r, str) and Budget.is_one(r)
