"""The table of evaluation sets: their names, and how each is opened."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from shared_tmu.datasets.base import EvalSet, SetOptions
from shared_tmu.datasets.ehf import find_ehf, open_ehf
from shared_tmu.datasets.freihand import find_freihand, open_freihand
from shared_tmu.datasets.hand_keypoints import SUBSETS
from shared_tmu.datasets.hint import PARTS, HintPart, find_hint, open_hint
from shared_tmu.datasets.ho3d import V2, V3, Ho3dVersion, find_ho3d, open_ho3d
from shared_tmu.datasets.photos import find_photos, open_photos
from shared_tmu.datasets.synthbody import (
    open_synthbody,
    open_synthbody_calib,
    open_synthbody_varied,
)
from shared_tmu.datasets.synthhand import (
    OTHER_NAME,
    open_synthhand,
    open_synthhand_2,
    open_synthhand_calib,
    open_synthhand_clips,
    open_synthhand_other,
    open_synthhand_varied,
    open_synthhand_varied_2,
)
from shared_tmu.errors import InputError, TMUError
from shared_tmu.files import shortened


@dataclass(frozen=True)
class DatasetSpec:
    """One evaluation set.

    Args:
        name: the canonical name, used in results and file names.
        subject: what it shows, `"hand"` or `"body"`.
        aliases: further names, such as those of published configurations.
        check: `(data_dir, options) -> None`, quick; raises `MissingAssetError`, which names what is missing
            and where it comes from.
        open: `(data_dir, options) -> set`; raises the same errors as `check`.
        is_clips: whether it has frames in order, `HandClipSet`.
    """

    name: str
    subject: str
    aliases: tuple[str, ...]
    check: Callable[[Path, SetOptions], object]
    open: Callable[[Path, SetOptions], EvalSet]
    is_clips: bool = False


def _nothing_to_check(data_dir: Path, options: SetOptions) -> None:
    """The check of sets that are rendered on first use."""


def _ho3d(version: Ho3dVersion, aliases: tuple[str, ...]) -> DatasetSpec:
    """`HO3D-VAL` of published configurations reads a list of v3."""
    return DatasetSpec(
        version.name,
        "hand",
        (*aliases, f"{version.name}-evaluation".upper()),
        lambda data_dir, options: find_ho3d(data_dir, version),
        lambda data_dir, options: open_ho3d(data_dir, version).opened_with(options),
    )


def _hint(part: HintPart) -> DatasetSpec:
    """One pass scores all, visible and occluded points, which published configurations name apart."""
    return DatasetSpec(
        part.name,
        "hand",
        tuple(f"{part.folder}-TEST-{subset}".upper() for subset in SUBSETS),
        lambda data_dir, options: find_hint(data_dir, part),
        lambda data_dir, options: open_hint(data_dir, part).opened_with(options),
    )


DATASETS: Mapping[str, DatasetSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            DatasetSpec(
                "synthhand",
                "hand",
                ("SYNTHHAND-EVAL", "SYNTHHAND-VAL"),
                _nothing_to_check,
                lambda data_dir, options: open_synthhand(data_dir).opened_with(options),
            ),
            DatasetSpec(
                "synthhand-varied",
                "hand",
                ("SYNTHHAND-VARIED-EVAL",),
                _nothing_to_check,
                lambda data_dir, options: open_synthhand_varied(data_dir).opened_with(options),
            ),
            DatasetSpec("synthhand-eval-2", "hand", (), _nothing_to_check, open_synthhand_2),
            DatasetSpec("synthhand-varied-2", "hand", (), _nothing_to_check, open_synthhand_varied_2),
            DatasetSpec(OTHER_NAME, "hand", (), _nothing_to_check, open_synthhand_other),
            DatasetSpec(
                "synthhand-calib",
                "hand",
                (),
                _nothing_to_check,
                lambda data_dir, options: open_synthhand_calib(data_dir).opened_with(options),
            ),
            DatasetSpec(
                "synthhand-clips",
                "hand",
                (),
                _nothing_to_check,
                lambda data_dir, options: open_synthhand_clips(data_dir).opened_with(options),
                is_clips=True,
            ),
            DatasetSpec(
                "freihand",
                "hand",
                ("FREIHAND-VAL", "FREIHAND-EVAL"),
                lambda data_dir, options: find_freihand(data_dir),
                lambda data_dir, options: open_freihand(data_dir).opened_with(options),
            ),
            *(_ho3d(version, names) for version, names in ((V2, ()), (V3, ("HO3D-VAL",)))),
            *(_hint(part) for part in PARTS),
            DatasetSpec(
                "photos",
                "hand",
                ("PHOTOGRAPHS",),
                lambda data_dir, options: find_photos(data_dir),
                open_photos,
            ),
            DatasetSpec("synthbody", "body", ("SYNTHBODY-EVAL",), _nothing_to_check, open_synthbody),
            DatasetSpec(
                "synthbody-varied",
                "body",
                ("SYNTHBODY-VARIED-EVAL",),
                _nothing_to_check,
                open_synthbody_varied,
            ),
            DatasetSpec("synthbody-calib", "body", (), _nothing_to_check, open_synthbody_calib),
            DatasetSpec("ehf", "body", ("EHF-VAL", "EHF-EVAL"), find_ehf, open_ehf),
        )
    }
)


def dataset_names(text: str, subject: str | None = None) -> tuple[str, ...]:
    """Canonical names in a comma-separated list such as `"FreiHAND-VAL, synthhand"`, in its order, without
    repeats.

    Case, spaces, `-` and `_` are ignored.

    Args:
        text: the list.
        subject: what the sets must show, `"hand"` or `"body"`; None takes any.

    Raises:
        InputError: a name is unknown, or the list is empty.
    """
    specs = [spec for spec in DATASETS.values() if subject in (None, spec.subject)]
    by_key = {_key(n): s.name for s in specs for n in (s.name, *s.aliases)}
    names: dict[str, None] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        if _key(part) not in by_key:
            known = "; ".join(
                s.name + (f" (also {', '.join(s.aliases)})" if s.aliases else "") for s in specs
            )
            raise InputError(f"there is no dataset '{part}' (in '{text}'): use one of {known}.")
        names[by_key[_key(part)]] = None
    if not names:
        raise InputError(f"'{text}' names no dataset: try {' or '.join(s.name for s in specs)}.")
    return tuple(names)


def open_dataset(name: str, data_dir: Path, options: SetOptions | None = None) -> EvalSet:
    """Open the set with this canonical name; generated sets are rendered now if they do not exist yet.

    Raises:
        MissingAssetError: files that the user must supply do not exist.
        InputError: files exist but have wrong contents.
    """
    with _told(data_dir):
        return DATASETS[name].open(data_dir, options or SetOptions())


def check_dataset(name: str, data_dir: Path, options: SetOptions) -> None:
    """Check quickly whether a set can be opened.

    Raises:
        TMUError: see `open_dataset`.
    """
    with _told(data_dir):
        DATASETS[name].check(data_dir, options)


@contextmanager
def _told(data_dir: Path) -> Iterator[None]:
    """Turn errors of the file system into one sentence."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, TMUError):
            raise
        if isinstance(error, OSError) and error.strerror:
            where = error.filename or data_dir
            text = f"{shortened(str(where))} cannot be read ({error.strerror})"
        else:  # a path with a NUL, a home folder of an unknown user, circular links
            text = f"{shortened(repr(str(data_dir)))} cannot be a folder ({error})"
        raise InputError(f"{text}: name the folder of the datasets with --data_dir.") from error


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()
