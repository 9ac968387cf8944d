"""Which of a model's classes a folder of pictures is: class-map files, and names in order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared_tmu.errors import InputError
from shared_tmu.files import read_limited, shortened

_MOST_BYTES = 16 << 20
_HELP = (
    "lines 'FOLDER NUMBER', lines of folder names in the order of the classes (a description may follow), or "
    "JSON such as imagenet_class_index.json"
)


def read_class_map(path: Path) -> dict[str, int]:
    """Class numbers by names of folders.

    Args:
        path: lines `FOLDER NUMBER`; or lines `FOLDER [DESCRIPTION]` in the order of the classes, as
            synset_words.txt; or JSON, `{"FOLDER": NUMBER}` or `{"NUMBER": ["FOLDER", ...]}`.

    Raises:
        InputError: it cannot be read, or names a folder twice.
    """
    text = read_limited(path, _MOST_BYTES, InputError, f"--class_map takes {_HELP}.").decode(
        "utf-8-sig", "replace"
    )
    pairs = _from_json(text, path) if text.lstrip().startswith(("{", "[")) else _from_lines(text, path)
    names = [name for name, _ in pairs]
    if not pairs or len(set(names)) != len(names) or any(number < 0 for _, number in pairs):
        found = "names a folder twice, or has a negative number" if pairs else "has no classes"
        raise InputError(f"--class_map {path} {found}: expected {_HELP}.")
    return dict(pairs)


def _from_lines(text: str, path: Path) -> list[tuple[str, int]]:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and line[0] != "#"]
    ends = [line.rsplit(None, 1) for line in lines]
    numbered = [len(end) == 2 and end[1].isdecimal() for end in ends]
    if all(numbered):  # names may have blanks
        return [(name, int(number)) for name, number in ends]
    pairs = [line.split(None, 1) for line in lines]
    if wrong := [k for k, pair in enumerate(pairs) if len(pair) == 2 and pair[1].isdecimal()]:
        other = lines[numbered.index(False)]
        raise InputError(
            f"--class_map {path} has lines with a number, such as {shortened(lines[wrong[0]], 40)!r}, and "
            f"others without, such as {shortened(other, 40)!r}: expected {_HELP}."
        )
    return [(pair[0].rstrip(","), number) for number, pair in enumerate(pairs)]


def _from_json(text: str, path: Path) -> list[tuple[str, int]]:
    try:
        content = json.loads(text, object_pairs_hook=list)  # with names that are there twice
        if not content or not isinstance(content[0], tuple):
            return [(_text(name), number) for number, name in enumerate(content)]
        if all(type(value) is int for _, value in content):
            return content  # type: ignore[no-any-return]
        return [(_text(value if isinstance(value, str) else value[0]), int(key)) for key, value in content]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise InputError(f"--class_map {path} cannot be read as JSON ({error}): expected {_HELP}.") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no name")
    return value


def number_classes(
    folders: Sequence[str], classes: Mapping[str, int] | Sequence[str] | None, num_classes: int
) -> dict[str, int]:
    """The model's class of every folder.

    Args:
        folders: names of the folders.
        classes: numbers by name; or the names of the model's classes, in order; None numbers the folders in
            alphabetical order.
        num_classes: outputs of the model.

    Raises:
        InputError: a folder that is none of the classes, or another number of folders and no names.
    """
    if classes is None:
        if len(folders) != num_classes:
            raise InputError(
                f"the model has {num_classes} classes, but there are {len(folders)} folders, so their order "
                f"does not say which is which: give --class_map FILE with {_HELP}."
            )
        return {name: number for number, name in enumerate(sorted(folders))}
    known = classes if isinstance(classes, Mapping) else {name: k for k, name in enumerate(classes)}
    foreign = [name for name in folders if name not in known]
    if foreign:
        shown = ", ".join(shortened(name, 40) for name in foreign[:5])
        raise InputError(
            f"{len(foreign)} of {len(folders)} folders are none of the model's classes: {shown}; known are "
            f"{', '.join(list(known)[:5])}, ...: rename them, or give another --class_map."
        )
    beyond = [name for name in folders if known[name] >= num_classes]
    if beyond:
        raise InputError(
            f"--class_map says that {beyond[0]} is class {known[beyond[0]]}, but the model has {num_classes} "
            "classes, from 0 on."
        )
    return {name: known[name] for name in folders}
