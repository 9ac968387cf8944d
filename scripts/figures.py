"""Draws every figure of assets/ from the result files there, as PNG and SVG; or from your own results.

    python scripts/figures.py --all                  # everything, in a minute or two
    python scripts/figures.py overview curves hamer_merging
    python scripts/figures.py --list                 # names, what each shows, and which result files it lacks
    python scripts/figures.py --all --run            # first makes the result files that are missing
    python scripts/figures.py --results HaMeR_TMU/results    # your own runs over the published curves

`--run` says what it will run and how long that may take; result files that are there are kept. `--results`
reads the JSON lines that eval.py wrote into a folder (official weights on FreiHAND, say) and draws them over
`thesis_curves.csv` in the axes of our own figures; it writes to `figures` in that folder.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bundled import REPOSITORY
from figure_parts import (
    cka,
    cost,
    curves,
    demo_grid,
    depth,
    drift,
    joints,
    making,
    merging,
    methods,
    overhead,
    overview,
    sheets,
    style,
    together,
    vertices,
)
from figure_parts.own import GROUPS, own_figures
from figure_parts.table import Figure, Own

from shared_tmu import TMUError
from shared_tmu.errors import InputError
from shared_tmu.programs.console import run_program

ASSETS = REPOSITORY / "assets"
PARTS = (
    sheets, joints, overview, curves, demo_grid, vertices, drift, depth, cka, cost, overhead, merging,
    methods, together,
)  # fmt: skip
"""A module for each kind of figure; `rows` gives its figures. Sheets come first: they draw the samples."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("names", nargs="*", help="figures, or kinds of figures, as --list names them")
    add("--all", action="store_true", help="every figure")
    add("--list", action="store_true", help="list the figures; draw nothing")
    add("--run", action="store_true", help="first make missing result files")
    add("--photos", type=Path, metavar="DIR", help="your photographs of hands, for --run")
    add("--results", type=Path, metavar="DIR", help=f"draw your own results: {', '.join(GROUPS)}")
    add(
        "--out", type=Path, metavar="DIR", help="folder to write to; default: assets, or figures in --results"
    )
    given = parser.parse_args(arguments)
    refuse_mixed(parser, given)
    if given.results is not None:
        return draw_own(given.results, given.names, given.out or given.results / "figures")
    if not (given.names or given.all or given.list):
        parser.error("name figures, or give --all or --list")
    chosen = choose(given.names) if given.names else figures()
    if given.list:
        sys.stdout.write(describe(chosen, ASSETS))
        return 0
    failed = run_missing(chosen, given.photos) if given.run else []
    return draw(chosen, given.out or ASSETS, failed)


def refuse_mixed(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """End with a sentence where flags ask for two things at once."""
    if given.results is not None:
        asked = [f"--{name}" for name in ("all", "list", "run", "photos") if getattr(given, name)]
        if asked:
            parser.error(f"--results draws your own runs only: leave out {', '.join(asked)}")
    if given.photos is not None and not given.run:
        parser.error("--photos is for --run, which measures on them: add --run, or leave --photos out")


def figures() -> list[Figure]:
    """Every figure."""
    return [figure for part in PARTS for figure in part.rows()]


def choose(names: Sequence[str]) -> list[Figure]:
    """The figures of these names; a kind stands for all of its figures.

    Raises:
        InputError: there is no such figure.
    """
    known = figures()
    groups = list(dict.fromkeys(figure.group for figure in known))
    for name in names:
        if not any(name in (figure.group, figure.stem) for figure in known):
            raise InputError(
                f"there is no figure {name!r}: --list names them; kinds are {', '.join(groups)}."
            )
    return [figure for figure in known if figure.group in names or figure.stem in names]


def describe(chosen: Sequence[Figure], folder: Path) -> str:
    """A line for each figure, with the result files that it lacks."""
    lines = []
    for figure in chosen:
        lines.append(f"{figure.group:10} {figure.stem:22} {figure.about}")
        if lacking := figure.lacking(folder):
            lines.append(f"{'':33} cannot be drawn without {', '.join(lacking)}")
    return "\n".join(lines) + "\n"


def run_missing(chosen: Sequence[Figure], photos: Path | None) -> list[str]:
    """Make result files that are missing; a sentence for each command that failed."""
    wanted = [name for figure in chosen for name in figure.lacking(ASSETS)]
    if not wanted:
        sys.stdout.write("All result files are there.\n")
        return []
    found, unknown = making.find_makings(wanted)
    sys.stdout.write(making.say(found, photos) + "\n")
    sys.stdout.flush()
    failed = making.make(found, photos)
    return [*failed, *(f"{name} is part of the repository and cannot be made" for name in unknown)]


def draw(chosen: Sequence[Figure], out: Path, failed: Sequence[str] = ()) -> int:
    """Draw figures; returns the exit status.

    Args:
        chosen: the figures; one that cannot be drawn does not stop the others.
        out: folder to write to.
        failed: what went wrong before.
    """
    problems = list(failed)
    for figure in chosen:
        if lacking := figure.lacking(ASSETS):
            missing = ", ".join(lacking)
            problems.append(f"{figure.stem} is not drawn: {missing} was not measured yet (--run measures it)")
            continue
        try:
            with style.styled():
                drawn = figure.draw(ASSETS)
                save = (
                    style.save_pictures(drawn, out)
                    if figure.is_picture
                    else style.save(drawn, out / figure.stem)
                )
        except (TMUError, OSError) as error:
            problems.append(f"{figure.stem}: {error}")
            continue
        sys.stdout.write("".join(f"{path}\n" for path in save))
    return tell(problems)


def find_own(folder: Path, wanted: Sequence[tuple[str, ...]]) -> tuple[list[Own], list[str]]:
    """Figures of own results, and a sentence for each result, and each of `wanted`, that gives none.

    Raises:
        InputError: there is nothing to draw at all.
    """
    chosen: list[Own] = []
    problems: dict[str, None] = {}
    for groups in wanted:
        try:
            found, told = own_figures(folder, ASSETS, groups)
        except InputError as error:
            if len(wanted) == 1:
                raise
            told = [str(error)]
        else:
            chosen += found
        problems |= dict.fromkeys(told)
    if not chosen and len(wanted) > 1:
        raise InputError(" ".join(problems))
    return chosen, list(problems)


def draw_own(folder: Path, names: Sequence[str], out: Path) -> int:
    """Draw what a user's results allow; returns the exit status.

    Raises:
        InputError: there is nothing to draw, or a named figure is none that own results give.
    """
    if unknown := [name for name in names if name not in GROUPS]:
        raise InputError(
            f"{', '.join(unknown)} cannot be drawn from --results: only {', '.join(GROUPS)} can."
        )
    chosen, problems = find_own(folder, [(name,) for name in dict.fromkeys(names)] or [GROUPS])
    for figure in chosen:
        try:
            with style.styled():
                saved = style.save(figure.draw(), out / figure.stem)
        except (TMUError, OSError) as error:
            problems.append(f"{figure.stem}: {error}")
            continue
        sys.stdout.write("".join(f"{path}\n" for path in saved))
    return tell(problems)


def tell(problems: Sequence[str]) -> int:
    """Write what went wrong, a line each; returns the exit status."""
    sys.stderr.write("".join(f"error: {problem}\n" for problem in problems))
    return 1 if problems else 0


def redraw(files: Iterable[Path]) -> int:
    """Draw the figures that read any of these result files, after they were measured again."""
    names = {path.relative_to(ASSETS).as_posix() for path in files if path.is_relative_to(ASSETS)}
    chosen = [figure for figure in figures() if names & {*figure.needs}]
    return draw([figure for figure in chosen if not figure.lacking(ASSETS)], ASSETS)


if __name__ == "__main__":
    sys.exit(run_program(main))
