"""Which program makes each result file, and how long it takes."""

import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bundled import BUNDLED, REPOSITORY, Bundled

BENCH = ("-m", "shared_tmu.bench")


@dataclass(frozen=True)
class Making:
    """A command that makes result files.

    Args:
        files: that it makes, relative to `assets`.
        commands: words after `python`, one list for each call, run in the repository.
        minutes: on two cores, all calls together.
        is_timed: whether it measures speed, so that nothing else should run.
        photos: whether a folder of photographs, `--photos`, is `taken`, `needed`, or neither.
    """

    files: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]
    minutes: int
    is_timed: bool = False
    photos: Literal["taken", "needed"] | None = None


def makings() -> list[Making]:
    """All of them."""
    found = [making for name, model in BUNDLED.items() for making in _of_model(name, model)]
    return [*found, *_of_bench()]


def _of_model(name: str, model: Bundled) -> list[Making]:
    slow = 3 if model.subject == "body" else 1
    flags = ("--model", name)

    def files(*parts: str) -> tuple[str, ...]:
        return tuple(model.lines(part).name for part in parts)

    own = files(model.dataset, f"{model.dataset}_controls", model.varied, "tokens")
    evaluate, together = "scripts/evaluate_bundled.py", "scripts/measure_together.py"
    photos = [Making(files("photos", "photos_controls"), ((evaluate, *flags),), 45 * slow, True, "needed")]
    return [
        Making(own, ((evaluate, *flags),), 40 * slow, True),
        *(photos if model.photos else []),
        Making(files("masks"), (("scripts/measure_masks.py", *flags),), 20 * slow),
        Making(
            files("columns"),
            (("scripts/measure_columns.py", *flags),),
            15 * slow,
            photos="taken" if model.photos else None,
        ),
        Making((f"{model.stem}_cka.json",), (("scripts/measure_cka.py", *flags),), 2 * slow),
        Making((f"{model.stem}_vertices.npz",), (("scripts/measure_vertices.py", *flags),), 2 * slow),
        Making(files("methods"), (("scripts/compare_methods.py", *flags),), 20 * slow, True),
        Making(files("together"), ((together, *flags), (together, *flags, "--time-only")), 60 * slow, True),
    ]


def _of_bench() -> list[Making]:
    hamer = (*BENCH, "--model", "hamer", "--device", "cpu", "--resume")

    def speed(size: str, flags: str, file: str) -> tuple[str, ...]:
        return (*hamer, "--size", size, *flags.split(), "--json", f"assets/{file}")

    huge, thin = "bench/hamer_vit_h_cpu.jsonl", "bench/hamer_thin_cpu.jsonl"
    parts, scale = "bench/hamer_profile_cpu.jsonl", "bench/scale_cpu.jsonl"
    shares = "--size vit-h --profile --r 5x20,10x16 --batch 2 --device cpu --rounds 3 --warmup 1"
    return [
        Making(
            (huge,), (speed("vit-h", "--r 5x20,10x16 --batch 2,8 --rounds 5 --warmup 1", huge),), 15, True
        ),
        Making((thin,), (speed("thin", "--r 5x20,10x16 --batch 1,8 --rounds 25 --budget 8", thin),), 3, True),
        Making(
            (parts,), ((*BENCH, "--model", "hamer", *shares.split(), "--json", f"assets/{parts}"),), 5, True
        ),
        Making(
            (scale,),
            ((*BENCH, *f"--scale --device cpu --rounds 10 --budget 2 --json assets/{scale}".split()),),
            2,
            True,
        ),
    ]


def find_makings(files: Iterable[str]) -> tuple[list[Making], list[str]]:
    """The commands that make files, each once, and the files that no command makes."""
    known = {name: making for making in makings() for name in making.files}
    wanted = list(dict.fromkeys(files))
    return (
        list(dict.fromkeys(known[name] for name in wanted if name in known)),
        [name for name in wanted if name not in known],
    )


def say(found: Sequence[Making], photos: Path | None) -> str:
    """What will run, and how long it may take."""
    lines = []
    for making in found:
        note = ", with nothing else running" if making.is_timed else ""
        if making.photos == "needed" and photos is None:
            lines.append(f"  not made: {', '.join(making.files)}: name your photographs with --photos DIR")
            continue
        for words in making.commands:
            lines.append(f"  python {' '.join(_with_photos(making, words, photos))}")
        lines.append(
            f"    makes {', '.join(making.files)}: about {making.minutes} minutes on two cores{note}"
        )
    total = sum(m.minutes for m in found if photos is not None or m.photos != "needed")
    return "\n".join([f"--run will run, one after the other, for about {total} minutes:", *lines])


def make(found: Sequence[Making], photos: Path | None) -> list[str]:
    """Run the commands; a sentence for each that failed. Files that are there are never touched."""
    failed = []
    for making in found:
        if making.photos == "needed" and photos is None:
            continue
        for words in making.commands:
            words = _with_photos(making, words, photos)
            status = subprocess.run([sys.executable, *words], cwd=REPOSITORY, check=False).returncode
            if status:
                failed.append(f"python {' '.join(words)} failed with exit status {status}")
                break
    return failed


def _with_photos(making: Making, words: tuple[str, ...], photos: Path | None) -> tuple[str, ...]:
    return (*words, "--photos", str(photos.resolve())) if making.photos and photos else words
