"""Which evaluation sets exist, by which names, and how each is opened."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from shared_tmu.datasets.freihand import find_freihand, open_freihand
from shared_tmu.datasets.hand_meshes import HandMeshSet
from shared_tmu.datasets.synthhand import open_synthhand
from shared_tmu.errors import InputError


@dataclass(frozen=True)
class DatasetSpec:
    """One evaluation set.

    Args:
        name: the canonical name, used in results and file names.
        aliases: further names, such as those of published configurations.
        check: `data_dir -> None`, quick; raises `MissingAssetError` with what is missing and where it comes
            from.
        open: `data_dir -> set`; raises what `check` raises.
    """

    name: str
    aliases: tuple[str, ...]
    check: Callable[[Path], object]
    open: Callable[[Path], HandMeshSet]


DATASETS: Mapping[str, DatasetSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            DatasetSpec(
                "synthhand", ("SYNTHHAND-EVAL", "SYNTHHAND-VAL"), lambda data_dir: None, open_synthhand
            ),
            DatasetSpec("freihand", ("FREIHAND-VAL", "FREIHAND-EVAL"), find_freihand, open_freihand),
        )
    }
)


def dataset_names(text: str) -> tuple[str, ...]:
    """Canonical names of a comma list such as `"FreiHAND-VAL, synthhand"`, in its order, without repeats.

    Case, spaces, `-` and `_` do not matter.

    Raises:
        InputError: a name that no set has, or an empty list.
    """
    by_key = {_key(n): s.name for s in DATASETS.values() for n in (s.name, *s.aliases)}
    names: dict[str, None] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        if _key(part) not in by_key:
            known = "; ".join(f"{s.name} (also {', '.join(s.aliases)})" for s in DATASETS.values())
            raise InputError(f"there is no dataset '{part}' in '{text}'. Known: {known}.")
        names[by_key[_key(part)]] = None
    if not names:
        raise InputError(f"no dataset is named in '{text}': try {' or '.join(DATASETS)}.")
    return tuple(names)


def open_dataset(name: str, data_dir: Path) -> HandMeshSet:
    """Open the set of this canonical name; those that make themselves do so now.

    Raises:
        MissingAssetError: files that the user has to supply are not there.
        InputError: files are there but cannot be what they should be.
    """
    return DATASETS[name].open(data_dir)


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()
