"""Runs with merged tokens, masks and merged layers: their command lines, their times, and one line for
each."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from bundled import Bundled
from comparison import Run

from shared_tmu.datasets import open_dataset
from shared_tmu.demo.together import auto_mask
from shared_tmu.evaluation.batches import load_batch
from shared_tmu.evaluation.loaded import LoadedModel
from shared_tmu.evaluation.masking import masks_of
from shared_tmu.evaluation.recipes import read_recipe_of
from shared_tmu.evaluation.settings import parse_settings
from shared_tmu.evaluation.speed import measure_speeds
from shared_tmu.layers import LayerRecipe
from shared_tmu.masks import NO_MASK, MaskPlace
from shared_tmu.method_parts.protection import WEIGHT
from shared_tmu.method_parts.restores import COPY
from shared_tmu.programs.identity import file_sha256
from shared_tmu.programs.mask_flags import probe_beside
from shared_tmu.programs.model_program import find_program
from shared_tmu.programs.results import append_record, device_name, read_records
from shared_tmu.schedule import Schedule

BOUNDS_MM = (0.1, 0.5)
"""Of more error, for which the fastest run is named."""
AT_A_TIME = 6  # runs that are timed in turn
MEASURE = "pa_mpvpe_mm"


class Trunk(NamedTuple):
    """What is measured of one trunk.

    Args:
        schedules: without `off`.
        masks: `none`, and the mask.
    """

    schedules: tuple[str, ...]
    masks: tuple[str, ...]


def _masks(mask: str | None, model: Bundled, checkpoint: Path) -> tuple[str, ...]:
    place = MaskPlace(model.subject, is_video=False)
    mask = mask or auto_mask(probe_beside(checkpoint), place)
    return tuple(dict.fromkeys((NO_MASK, mask)))


@dataclass(frozen=True)
class Asked:
    """What is measured.

    Args:
        model: the bundled model.
        trunks: for each file of merged layers (None: all layers) its schedules, without `off`, and masks.
    """

    model: Bundled
    trunks: dict[str | None, Trunk]

    @classmethod
    def of(cls, model: Bundled, schedules: str, mask: str | None, files: Sequence[str]) -> "Asked":
        """From a command line; schedules are scaled to the depth of each file."""
        texts = tuple(str(Schedule.parse(text)) for text in schedules.split(","))
        found = {None: Trunk(texts, _masks(mask, model, model.checkpoint))}
        for file in files:
            recipe = read_recipe_of(Path(file))
            whole = recipe.partition[-1][1] + 1
            fitting = tuple(dict.fromkeys(scaled(text, recipe.depth, whole) for text in texts))
            found[file] = Trunk(fitting, _masks(mask, model, Path(file)))
        return cls(model, found)

    @property
    def recipes(self) -> dict[str | None, LayerRecipe | None]:
        """How layers were merged, by file."""
        return {file: None if file is None else read_recipe_of(Path(file)) for file in self.trunks}

    @property
    def times(self) -> Path:
        """Where times are kept until they are in the published lines."""
        return self.model.folder / "results" / f"{self.model.stem}-together-times.jsonl"


def scaled(schedule: str, depth: int, whole: int) -> str:
    """A schedule for fewer layers that removes as many tokens up to the same share of the depth."""
    asks = Schedule.parse(schedule).per_layer(whole)
    edges = [layer * whole // depth for layer in range(depth + 1)]
    return str(Schedule.parse([sum(asks[a:b]) for a, b in pairwise(edges)]))


def run_texts(asked: Asked) -> list[list[str]]:
    """Flags of eval.py for all runs: one command for each trunk."""
    return [
        [
            *("--r", ",".join(("off", *trunk.schedules))),
            *("--mask", ",".join(trunk.masks), "--layers", file or "none"),
        ]
        for file, trunk in asked.trunks.items()
    ]


def time_missing(asked: Asked, rounds: int) -> None:
    """Time all runs that were not timed on this machine with these weights, in groups.

    Every round of a group times the unpatched model and then each of its runs.
    """
    program = find_program(asked.model.stem)
    # `off` of all layers is what others are compared with; the first command has it
    parsed = [
        parse_settings(program, [*flags, "--rounds", str(rounds), "--device", "cpu"])
        for flags in run_texts(asked)
    ]
    runs = [run for settings in parsed for run in settings.runs]
    loaded = LoadedModel.load(program, parsed[0])
    with loaded.packing:
        key = _key(asked, loaded.facts["machine"]["cpu_threads"])
        known = {line["label"] for line in read_records(asked.times) if line.get("key") == key}
        todo = [run for run in runs if run.label not in known]
        data = open_dataset(asked.model.dataset, Path(), parsed[0].set_options(loaded.module))
        rows = range(parsed[0].batch_size)
        batch = load_batch(data, rows, parsed[0].device, masks_of(runs))
        for start in range(0, len(todo), AT_A_TIME):
            group = todo[start : start + AT_A_TIME]
            found = measure_speeds(program, loaded.module, group, batch, parsed[0])
            for run in group:
                append_record(asked.times, {"key": key, "label": run.label, **found[run]})


def _key(asked: Asked, threads: int) -> str:
    return f"{file_sha256(asked.model.checkpoint)} {device_name(torch.device('cpu'))} {threads}"


def combine(asked: Asked, limit: int) -> list[Run]:
    """One line for each run: what eval.py measured, and its time, if it was timed.

    Raises:
        ValueError: eval.py has not measured all of them.
    """
    key = _key(asked, torch.get_num_threads())
    times = {line["label"]: line for line in read_records(asked.times) if line.get("key") == key}
    measured = measured_lines(asked.model, limit)
    lines = []
    for file, recipe in asked.recipes.items():
        ways = [
            ("off", NO_MASK),
            *((s, mask) for mask in asked.trunks[file].masks for s in asked.trunks[file].schedules),
        ]
        for schedule, mask in ways:
            line = measured.get((schedule, mask, recipe))
            if line is None:
                raise ValueError(f"eval.py has no line of --r {schedule} --mask {mask} --layers {file}")
            depth = len(recipe.partition) if recipe else None
            lines.append(_line(line, times.get(line["label"], {}), depth))
    return _judged(lines)


def measured_lines(model: Bundled, limit: int) -> dict[tuple[str, str, LayerRecipe | None], Run]:
    """What eval.py measured of the bundled weights with TMU, by schedule, mask and merged layers.

    Args:
        model: the bundled model.
        limit: number of samples, from the first.
    """
    weights = file_sha256(model.checkpoint)
    measured: dict[tuple[str, str, LayerRecipe | None], Run] = {}
    results = model.results(model.dataset)
    for line in read_records(results):
        if (line["checkpoint_sha256"], line["n"]) == (weights, limit) and line.get("stability_n"):
            how = (line["method"], line["unmerge"], line["protect"], line.get("restore", COPY))
            plain = how == ("tome", True, "first", COPY)
            plain &= line["mask"] == NO_MASK or line["mask_weight"] == WEIGHT  # the rule that runs here have
            if plain and "drift_mm" in line:
                layers = line.get("layers")
                recipe = None if layers is None else LayerRecipe.from_dict(layers, str(results))
                measured[line["schedule"], line["mask"], recipe] = line
    return measured


def _line(line: Run, timed: Run, depth: int | None) -> Run:
    """A published line; its speed-up counts the time of its mask."""
    parts = [] if depth is None else ["ECLM"]
    parts += [] if line["schedule"] == "off" else ["TMU"]
    parts += [] if line["mask"] == NO_MASK else ["mask"]
    more = 1 + (line.get("mask_share") or 0.0)
    speedup, spread = timed.get("speedup"), timed.get("speedup_quartiles")
    is_base = depth is None and line["schedule"] == "off"
    return {
        **line,
        "kind": "together",
        "way": " + ".join(parts) or "baseline",
        "depth": depth,
        **{name: timed.get(name) for name in ("images_per_s", "images_per_s_quartiles", "timing")},
        "speedup": None if speedup is None else 1.0 if is_base else speedup / more,
        "speedup_quartiles": None if spread is None else [one / more for one in spread],
    }


def _judged(lines: list[Run]) -> list[Run]:
    """The same lines, saying of each whether it is on the front, and for which bounds it is the fastest."""
    base = lines[0][MEASURE]
    timed = [line for line in lines if line["speedup"] is not None]
    for line in lines:
        line["more_mm"] = line[MEASURE] - base
        faster = [o for o in timed if o["speedup"] > (line["speedup"] or 0.0)]
        line["front"] = line in timed and all(o[MEASURE] > line[MEASURE] for o in faster)
    for bound in BOUNDS_MM:
        within = [line for line in timed if line["more_mm"] <= bound]
        best = max(within, key=lambda line: line["speedup"], default=None)
        for line in lines:
            line.setdefault("best_within_mm", [])
            if line is best and best is not lines[0]:
                line["best_within_mm"].append(bound)
    return lines
