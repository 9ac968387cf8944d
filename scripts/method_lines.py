"""Published lines of `compare_methods.py`: errors of eval.py, times, paired intervals, fronts, the best."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from bundled import Bundled
from comparison import Run
from method_ways import BASE, PUBLISHED, Way

from shared_tmu.errors import InputError
from shared_tmu.evaluation.comparing import compare_runs
from shared_tmu.evaluation.per_sample import PerSample, read_per_sample
from shared_tmu.masks import NO_MASK
from shared_tmu.method_parts.restores import COPY
from shared_tmu.programs.identity import file_sha256
from shared_tmu.programs.results import read_records

MEASURE = "pa_mpvpe_mm"
ERRORS = (MEASURE, "mpvpe_mm", "wrist_mpvpe_mm", "pa_mpvpe_hand_mm", "pa_mpvpe_face_mm")
STABILITY = ("stability_mm", "stability_interval_95", "stability_n", "noise_mm", "drift_mm")
FACTS = (
    *("model", "dataset", "dataset_sha256", "n", "limit", "schedule", "method", "restore", "label"),
    *("tokens", "tokens_kept", "weights_sha256", "checkpoint_sha256", "dtype", "device", "batch_size"),
    *("packed", "versions", "machine", "commit", "finished"),
)
TIMES = (
    *("speedup", "speedup_quartiles", "floor_speedup", "floor_speedup_quartiles"),
    *("overhead", "overhead_quartiles", "rounds", "timed_batch_size", "timed_threads", "timed_commit"),
)
SLACK = {"tokens": 0.0, "flops": 0.005, "time": 0.02}
"""How much more than ToMe a way may cost and still be in its budget: rounding, and noise of times."""
COST_AT = "8x16"
"""The budget at which the docstrings of methods say what they cost."""
NEEDED = {"method", "schedule", "files", "dataset_sha256", "interval_95", MEASURE}
"""Without these a line is damaged, and counts as not measured."""
RunKey = tuple[str, str, str]
"""Method, schedule and restore."""


class Planned(NamedTuple):
    """A way, and what it needs.

    Args:
        way: the way.
        schedule: its schedule.
        flops_share: FLOPs of the blocks over those without merging.
        tokens_kept: tokens at the end, for methods whose counts depend on the image; None for others, of
            which eval.py knows it.
    """

    way: Way
    schedule: str
    flops_share: float
    tokens_kept: float | None = None

    @property
    def key(self) -> RunKey:
        """What eval.py measures."""
        return self.way.method, self.schedule, self.way.restore


@dataclass(frozen=True)
class Asked:
    """What is compared.

    Args:
        model: the bundled model.
        plans: all ways; some may need the same run.
        limit: samples.
    """

    model: Bundled
    plans: tuple[Planned, ...]
    limit: int

    @property
    def runs(self) -> list[RunKey]:
        """What eval.py has to measure besides `off`, each once."""
        return list(dict.fromkeys(plan.key for plan in self.plans))

    @property
    def times(self) -> Path:
        """Where times are kept."""
        return self.model.folder / "results" / f"{self.model.stem}-methods-times.jsonl"


def combine(asked: Asked, timed: Mapping[RunKey, Run]) -> list[Run]:
    """`off`, then one line for each run: what eval.py measured, differences from ToMe, and times if known.

    Args:
        asked: what is compared.
        timed: times by run.

    Raises:
        InputError: eval.py has not measured all of them on the same samples.
    """
    measured, folder = find_lines(asked), asked.model.results(asked.model.dataset).parent

    @cache
    def errors(key: RunKey) -> PerSample:
        return read_per_sample(folder / measured[key]["files"])

    off = _line(measured[_OFF], errors(_OFF), {})
    off |= {"budget": "off", "profile": PUBLISHED, "flops_share": 1.0, "speedup": 1.0}
    lines, keys = [off], [_OFF]
    for key in asked.runs:
        plans = [plan for plan in asked.plans if plan.key == key]
        base = (BASE, plans[0].way.budget, COPY)
        line = _line(measured[key], errors(key), timed.get(key, {}))
        line |= {"budget": plans[0].way.budget, "profile": plans[0].way.profile}
        line["flops_share"] = round(plans[0].flops_share, 4)
        line["tokens_kept"] = line["tokens_kept"] if plans[0].tokens_kept is None else plans[0].tokens_kept
        line |= _minus("off", errors(_OFF), errors(key))
        line |= _minus("base", errors(base), errors(key)) if base in measured else {}
        lines.append(line)
        keys.append(key)

    @cache
    def differ(a: int, b: int) -> bool:
        low, high = _minus("pair", errors(keys[a]), errors(keys[b]), (MEASURE,))["minus_pair_interval_95"][
            MEASURE
        ]
        return not low <= 0.0 <= high

    return judge(lines, differ)


_OFF: RunKey = (BASE, "off", COPY)


def find_lines(asked: Asked) -> dict[RunKey, Run]:
    """The last line of eval.py for each run, with these weights and samples.

    Raises:
        InputError: a run lacks one, or they are of different pictures.
    """
    weights, found = file_sha256(asked.model.checkpoint), dict[RunKey, Run]()
    for line in read_records(asked.model.results(asked.model.dataset)):
        # a set may have fewer samples than were asked for
        same = line.get("checkpoint_sha256") == weights and asked.limit in (line.get("n"), line.get("limit"))
        if (
            line.keys() >= NEEDED
            and is_plain(line)
            and same
            and not line.get("learned_sha256")
            and line.get("stability_n")
        ):
            found[line["method"], line["schedule"], line.get("restore", COPY)] = line
    wanted = [_OFF, *asked.runs]
    if missing := [" ".join(key) for key in wanted if key not in found]:
        raise InputError(
            f"eval.py has not measured {', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''} on "
            f"{asked.limit} samples with these weights: run --stage errors first."
        )
    if len({found[key]["dataset_sha256"] for key in wanted}) > 1:
        raise InputError("lines are of different pictures of the set: run --stage errors again.")
    return {key: found[key] for key in wanted}


def is_plain(line: Run) -> bool:
    """Whether a line of eval.py has neither a mask nor other layers, and its prefix and grid are kept."""
    masked = line.get("mask", NO_MASK) != NO_MASK or line.get("layers")
    return not masked and bool(line.get("unmerge")) and line.get("protect") == "first"


def _line(line: Run, errors: PerSample, timed: Run) -> Run:
    names = [name for name in ERRORS if name in errors.errors]
    intervals = {name: line["interval_95"][name] for name in names if name in line["interval_95"]}
    return {
        "kind": "methods",
        **{name: line.get(name) for name in FACTS},
        "restore": line.get("restore", COPY),
        **{name: line[name] for name in names if name in line},
        "interval_95": intervals,
        **{name: line.get(name) for name in STABILITY},
        **{name: timed.get(name) for name in TIMES},
    }


def _minus(name: str, a: PerSample, b: PerSample, errors: Sequence[str] = ERRORS) -> Run:
    """Mean paired differences b - a of some errors, and their 95 % intervals."""
    found = {d.name: d for d in compare_runs(a, b, errors)}
    return {
        f"minus_{name}": {key: d.minus for key, d in found.items()},
        f"minus_{name}_interval_95": {key: [d.low, d.high] for key, d in found.items() if d.low is not None},
    }


def cost_of(line: Run, axis: str) -> float | None:
    """What a line costs on an axis: tokens at the end, or the share of FLOPs or time; None if not known.

    Of a profile tokens at the end are not what it costs: late merging leaves few and saves little.
    """
    if axis == "time":
        return None if line["speedup"] is None else 1.0 / line["speedup"]
    if axis == "flops":
        return float(line["flops_share"])
    return float(line["tokens_kept"]) if line["profile"] == PUBLISHED else None


def judge(lines: list[Run], differ: Callable[[int, int], bool]) -> list[Run]:
    """The same lines, each with the axes on whose front it is, and the budgets for which it is the best.

    Args:
        lines: `off` first.
        differ: whether two lines, by number, differ by more than noise, in pairs.
    """
    for line in lines:
        line |= {"front": [], "best_at": {}, "near_best_at": {}}
    for axis in SLACK:
        known = [(number, cost) for number, x in enumerate(lines) if (cost := cost_of(x, axis)) is not None]
        for number, cost in known:
            error = lines[number][MEASURE]
            better = (lines[n][MEASURE] < error for n, c in known if c <= cost and n != number)
            if not any(better):
                lines[number]["front"].append(axis)
        _name_best(lines, axis, known, differ)
    return lines


def _name_best(
    lines: Sequence[Run], axis: str, known: Iterable[tuple[int, float]], differ: Callable[[int, int], bool]
) -> None:
    costs = dict(known)
    for base, line in enumerate(lines):
        is_base = (line["method"], line["restore"], line["profile"]) == (BASE, COPY, PUBLISHED)
        if not is_base or line["schedule"] == "off" or base not in costs:
            continue
        most = costs[base] * (1 + SLACK[axis])
        within = [number for number, cost in costs.items() if cost <= most]
        best = min(within, key=lambda number: lines[number][MEASURE])
        lines[best]["best_at"].setdefault(axis, []).append(line["budget"])
        for number in within:
            if number != best and not differ(number, best):
                lines[number]["near_best_at"].setdefault(axis, []).append(line["budget"])
