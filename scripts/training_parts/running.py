"""The loop of `train_on.py`: one slice after the other, until it is asked to stop."""

from __future__ import annotations

import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bundled import BUNDLED

from shared_tmu.errors import InputError, TrainingError
from shared_tmu.programs.identity import file_sha256
from shared_tmu.synth import shards
from training_parts.keeping import LOG, STOP, Drawing, State, read_state, write_state
from training_parts.planning import Standing, Step, Stock, choose_step, shards_to_draw
from training_parts.rounds import (
    Place,
    clear_rounds,
    drop_round,
    finish_round,
    open_round,
    progress,
    seen_seeds,
    train_command,
)
from training_parts.scenes import count_fresh, draw_command, find_sets, first_seed
from training_parts.slices import Slice, run_slice

SLICE_S, ROUND_S = 15 * 60.0, 90 * 60.0
_FAILURES = 3  # in a row, without any progress
_FREE_BYTES = 2 * 2**30
_log = logging.getLogger("shared_tmu.train_on")


@dataclass(frozen=True)
class Options:
    """How to train.

    Attributes:
        folder: of the state.
        cache: of the scenes.
        models: names of the models.
        slice_s: the longest that one program runs.
        round_s: about how long a round takes.
        more: further settings of `train.py`, from the next round on.
        until: tells whether to stop, after so many seconds.
        held: descriptors that programs inherit.
    """

    folder: Path
    cache: Path
    models: Sequence[str] = ()
    slice_s: float = SLICE_S
    round_s: float = ROUND_S
    more: Sequence[str] = ()
    until: Callable[[float], bool] = field(default=lambda seconds: False)
    held: Sequence[int] = ()


def places(folder: Path, names: Sequence[str] = ()) -> dict[str, Place]:
    """The models by name."""
    return {name: Place(name, BUNDLED[name], folder / name) for name in names or BUNDLED}


class TrainingOn:
    """Trains models on, slice by slice.

    Args:
        options: how.

    Raises:
        InputError: the state is damaged.
    """

    def __init__(self, options: Options) -> None:
        self.options, self.places = options, places(options.folder, options.models)
        self.began, self.failures = time.monotonic(), Counter[str]()
        self.state = self._opened()

    def run(self) -> None:
        """Train until asked to stop.

        Raises:
            TrainingError: a program fails again and again.
            InputError: the disk is full.
        """
        (self.options.folder / STOP).unlink(missing_ok=True)  # it asks a program that runs, not the next one
        self._say(f"the state is in {self.options.folder}; `touch {self.options.folder / STOP}` stops")
        while not self._is_over():
            step = choose_step(self._standings(), self._stocks())
            self._draw(step) if step.draws else self._train(step)
        (self.options.folder / STOP).unlink(missing_ok=True)
        self._say("stopped; the same command goes on from here")

    def _opened(self) -> State:
        """What was kept, with progress that a killed program has made, and models whose weights are new."""
        state = read_state(self.options.folder) or State({}, {})
        renewed = set[str]()
        for name, place in self.places.items():
            model, shipped = state.models.get(name), place.begun()
            if model is None or (model.shipped != shipped.shipped and shipped.pictures > model.pictures):
                model = replace(shipped, last_round=model.last_round if model else 0)
                renewed |= {place.bundled.subject} if name in state.models else set()
                self._say(f"{name} goes on from the shipped weights")
            if model.open is not None and not progress(place, model.open):
                model = drop_round(place, model)  # so that other settings take effect
            if model.open is not None:
                model = replace(model, open=replace(model.open, seen=progress(place, model.open)))
            state = state.with_model(name, model)
        for subject in {place.bundled.subject for place in self.places.values()}:
            if subject in renewed or subject not in state.drawing:
                own = [place.bundled.checkpoint for place in places(self.options.folder).values()
                       if place.bundled.subject == subject]  # fmt: skip
                before = state.drawing.get(subject, Drawing(0))
                known = sorted(set(before.known).union(*map(seen_seeds, own)))
                drawing = replace(before, seed=first_seed(map(file_sha256, own)), known=known)
                state = state.with_drawing(subject, drawing)
        self.options.folder.mkdir(parents=True, exist_ok=True)
        write_state(self.options.folder, state)
        for name, place in self.places.items():
            clear_rounds(place, state.models[name])  # what a program that was killed has left
        return state

    def _keep(self, state: State) -> None:
        self.state = state
        write_state(self.options.folder, state)

    def _standings(self) -> dict[str, Standing]:
        return {name: self._standing(place) for name, place in self.places.items()}

    def _standing(self, place: Place) -> Standing:
        model, subject = self.state.models[place.name], place.bundled.subject
        alike = sum(other.bundled.subject == subject for other in self.places.values())
        return Standing(
            subject,
            pictures=model.pictures,
            log=[(point.pictures, point.error_mm) for point in model.log],
            round_pictures=sum(place.round_images(self.options.round_s).values()),
            per_s=place.per_s(),
            seconds=model.seconds + self.state.drawing[subject].seconds / alike,
            is_open=model.open is not None,
        )

    def _stocks(self) -> dict[str, Stock]:
        return {subject: self._stock(subject) for subject in self.state.drawing}

    def _stock(self, subject: str) -> Stock:
        drawing = self.state.drawing[subject]
        names = [name for name, model in BUNDLED.items() if model.subject == subject]
        models = [one for name, one in self.state.models.items() if name in names]
        return Stock(
            fresh=count_fresh(find_sets(self.options.cache, subject), drawing.known),
            seen=sum(model.seen_in_all for model in models),
            draw_s=drawing.seconds,
            train_s=sum(model.seconds for model in models),
        )

    def _draw(self, step: Step) -> None:
        """Draw scenes for about a quarter of a slice, at least one shard."""
        subject = self.places[step.model].bundled.subject
        drawing = self.state.drawing[subject]
        if shutil.disk_usage(self.options.folder).free < _FREE_BYTES:
            raise InputError(
                f"the disk of {self.options.folder} is nearly full: free some space, for instance by "
                f"removing the oldest folders in {self.options.cache}, and run the same command again."
            )
        per_s = drawing.scenes / drawing.seconds if drawing.scenes and drawing.seconds else None
        count = shards.SHARD * shards_to_draw(self.options.slice_s / 4, per_s, shards.SHARD)
        self._say(f"drawing scenes, {subject}: {step.why}")
        before = self._stock(subject).fresh

        def tick(seconds: float) -> None:
            now = self.state.drawing[subject]
            self._keep(self.state.with_drawing(subject, replace(now, seconds=now.seconds + seconds)))

        command = draw_command(self.options.cache, subject, drawing.seed, count)
        ended = self._run(command, self.options.folder, self.options.folder / LOG, tick, self._is_over)
        drawn = max(self._stock(subject).fresh - before, 0)
        now = self.state.drawing[subject]
        self._keep(self.state.with_drawing(subject, replace(now, scenes=now.scenes + drawn)))
        self._check("drawing", ended, self.options.folder / LOG, is_good=drawn > 0)

    def _train(self, step: Step) -> None:
        """Train for a slice; begins a round if none is open, and finishes it."""
        place = self.places[step.model]
        if self.state.models[place.name].open is None:
            self._begin(place)
        one = self.state.models[place.name].open
        assert one is not None
        self._say(f"training {place.name}, round {one.number}: {step.why}")
        log, before = place.round_folder(one.number) / "train.log", one.seen

        def tick(seconds: float) -> None:
            model = self.state.models[place.name]
            assert model.open is not None
            longer = replace(model.open, seconds=model.open.seconds + seconds)
            model = replace(model, open=longer, seconds=model.seconds + seconds)
            self._keep(self.state.with_model(place.name, model))

        slices = 1

        def is_over(seconds: float) -> bool:
            nonlocal slices
            if self._is_over() or seconds < slices * self.options.slice_s:
                return self._is_over()
            slices += 1  # starting again costs time, so it goes on without progress, or if its turn goes on
            seen = self._count(place)
            following = choose_step(self._standings(), self._stocks())
            is_same = (following.model, following.draws) == (step.model, step.draws)
            return not is_same and seen > before

        command = train_command(place, one, self.options.cache)
        ended = self._run(command, place.bundled.folder, log, tick, is_over)
        seen = self._count(place)
        model = self.state.models[place.name]
        is_finished = ended.status == 0 and place.export(one.number).is_file()
        if is_finished:
            model = finish_round(place, model)
            last = model.log[-1]
            self._say(
                f"{place.name}, round {one.number}: {last.error_mm:.2f} mm after {last.pictures:,} pictures"
            )
        self._keep(self.state.with_model(place.name, model))
        clear_rounds(place, model)
        self._check(place.name, ended, log, is_good=is_finished or seen > before)

    def _count(self, place: Place) -> int:
        """Keep how many pictures the open round has seen; the number."""
        model = self.state.models[place.name]
        assert model.open is not None
        counted = replace(model.open, seen=progress(place, model.open))
        self._keep(self.state.with_model(place.name, replace(model, open=counted)))
        return counted.seen

    def _begin(self, place: Place) -> None:
        """Begin a round, on the other hand model's trunk if that has seen more pictures."""
        model = self.state.models[place.name]
        images = place.round_images(self.options.round_s)
        sets = find_sets(self.options.cache, place.bundled.subject)
        trunk = None
        for other in self.places.values():
            pictures = self.state.models[other.name].pictures
            if other.bundled.subject == place.bundled.subject == "hand" and pictures > model.pictures:
                trunk = other.newest(self.state.models[other.name]), pictures
        self._keep(self.state.with_model(
            place.name, open_round(place, model, images, sets, trunk, self.options.more)
        ))  # fmt: skip

    def _run(
        self,
        command: Sequence[str],
        folder: Path,
        log: Path,
        tick: Callable[[float], None],
        is_over: Callable[[float], bool],
    ) -> Slice:
        return run_slice(command, folder, log, is_over, tick, self.options.held)

    def _is_over(self, _: float = 0.0) -> bool:
        return (self.options.folder / STOP).exists() or self.options.until(time.monotonic() - self.began)

    def _check(self, work: str, ended: Slice, log: Path, is_good: bool) -> None:
        """Try again after a failure, but not for ever; failures are counted for each kind of work."""
        if ended.is_ended or is_good:
            self.failures[work] = 0
            return
        self.failures[work] += 1
        self._say(f"a program ended with status {ended.status}; its output is in {log}")
        if self.failures[work] >= _FAILURES:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
            raise TrainingError(
                f"a program failed {self.failures[work]} times in a row, the last time with status "
                f"{ended.status} ({lines[-1]}); its output is in {log}. Mend that, and run the same command "
                "again."
            )

    def _say(self, text: str) -> None:
        _log.info("%s %s", time.strftime("%H:%M:%S"), text)
