"""Scenes for training: which sets lie in the cache, which of them are fresh, and how more are drawn."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bundled import REPOSITORY

from shared_tmu.synth import shards
from shared_tmu.synth.scene import Difficulty
from shared_tmu.synth.shards import HAND, Kind, shard_folder
from shared_tmu.training.drawing import Scenes

DRAWN = {
    "hand": Difficulty(variety=0.5, alike=0.4, other_hand=0.15),
    "body": Difficulty(variety=0.4),
}
"""What is drawn here, by subject; `alike` and another person's hands are what photographs have and plain
scenes lack.
"""
FULL = 20_000  # scenes of a set; then another begins
_KNOWN = (  # of sets that may lie in the cache, too
    *(Difficulty(variety=share) for share in (0.4, 0.0, 0.5, 1.0)),
    Difficulty(variety=1.0, alike=1.0),
)
_FIRST_SEED, _SEEDS, _LAST_SEED = 100_000, 700_000, 899_999  # validation and evaluation have larger ones
_DRAW = REPOSITORY / "scripts" / "make_shards.py"


def kind_of(subject: str) -> Kind:
    """The kind of pictures that show a subject, `"hand"` or `"body"`."""
    if subject == "hand":
        return HAND
    from shared_tmu.synth.body.shards import BODY

    return BODY


def first_seed(digests: Iterable[str]) -> int:
    """The seed of the first set that is drawn from certain weights on, by their SHA-256: another machine that
    goes on from the same weights draws the same scenes, and one that goes on from others draws others."""
    return _FIRST_SEED + sum(int(digest[:12], 16) for digest in digests) % _SEEDS


def find_sets(cache: Path, subject: str) -> list[Scenes]:
    """The sets of a subject in the cache, with as many scenes as there are without a gap; oldest seeds first.

    Sets for validation and evaluation are not among them, nor sets of other difficulties.
    """
    kind, found = kind_of(subject), []
    for folder in cache.glob(f"{kind.name}-*-*"):
        if (named := re.fullmatch(rf"{kind.name}-(\d+)-[0-9a-f]{{8}}", folder.name)) is None:
            continue
        seed = int(named[1])
        for difficulty in _difficulties(subject):
            if seed <= _LAST_SEED and shard_folder(cache, seed, difficulty, kind) == folder:
                count = shards.SHARD * _shards_there(folder)
                found += [Scenes(seed, count, difficulty)] if count else []
    return sorted(found, key=lambda one: (one.seed, one.difficulty.variety, one.difficulty.alike))


def count_fresh(sets: Sequence[Scenes], known: Iterable[int]) -> int:
    """Scenes whose seeds are not among those that were known before."""
    seeds = set(known)
    return sum(one.count for one in sets if one.seed not in seeds)


def draw_command(cache: Path, subject: str, seed: int, count: int) -> list[str]:
    """The command that draws more scenes.

    Args:
        cache: folder of all sets.
        subject: what they show.
        seed: of the first set drawn here; full sets are followed by one of the next seed.
        count: how many more, if the set does not become full.
    """
    kind, difficulty = kind_of(subject), DRAWN[subject]
    there = 0
    while (there := shards.SHARD * _shards_there(shard_folder(cache, seed, difficulty, kind))) >= FULL:
        seed += 1
    words = {
        "--of": subject,
        "--cache": cache,
        "--seed": seed,
        "--count": min(there + count, FULL),
        "--variety": difficulty.variety,
        **({"--alike": difficulty.alike} if difficulty.alike else {}),
        **({"--other-hand": difficulty.other_hand} if difficulty.other_hand else {}),
    }
    return [sys.executable, str(_DRAW), *(str(word) for pair in words.items() for word in pair)]


def _difficulties(subject: str) -> list[Difficulty]:
    """Difficulties of sets that may lie in the cache, without those that mean nothing for a subject."""
    lacks = kind_of(subject).lacks
    found = [one for one in _KNOWN if not any(getattr(one, name) for name in lacks)]
    return list(dict.fromkeys((DRAWN[subject], *found)))


def of_variety(variety: float) -> Difficulty:
    """The difficulty of scenes of which a share has a photograph-like appearance."""
    return Difficulty(variety=variety)


def _shards_there(folder: Path) -> int:
    """The number of shards from the first on without a gap."""
    number = 0
    while (folder / f"{number:05d}.npz").exists():
        number += 1
    return number
