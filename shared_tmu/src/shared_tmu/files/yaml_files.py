"""The only reader of YAML files of users: plain values, with limits on size and nesting.

A few hundred bytes of YAML can expand to billions of values (aliases of aliases), to a nesting that crashes a
parser, or to a number with a million digits. Before anything is built, this reader checks the number of
bytes, the nesting, the number of values after expanding aliases, and the length of each scalar.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared_tmu.errors import ConfigError, MissingDependencyError
from shared_tmu.files.regular import read_limited, shortened

MAX_BYTES = 1 << 18
MAX_DEPTH = 24
MAX_VALUES = 20_000
MAX_SCALAR = 4_000
"""Largest number of characters of a scalar: below the number of digits at which Python refuses to make an
integer.
"""

MAX_BITS = 1000  # digits of a whole number that is written out in a message

_MERGE = "tag:yaml.org,2002:merge"  # the key <<, which may be there several times

_BUILDING = (ValueError, LookupError, AttributeError, TypeError, OverflowError, RecursionError)
"""Errors of PyYAML's constructors for scalars whose type differs from their tag."""


def read_yaml(path: Path | str, missing: str = "") -> dict[str, Any]:
    """Read a YAML mapping of plain values; tags that would build Python objects are refused.

    Args:
        path: the file.
        missing: how to get it, a sentence for the message if it is missing.

    Raises:
        MissingAssetError: the file does not exist.
        ConfigError: it cannot be opened, is not a YAML mapping, sets a key twice, or is too large, too deep,
            or has too many values.
    """
    path = Path(path)
    content = read_limited(path, MAX_BYTES, ConfigError, missing)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} cannot be read as YAML: it is not UTF-8 text ({error.reason}).") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """The mapping in a YAML text; see `read_yaml`.

    Args:
        text: the YAML.
        source: where it comes from, for messages.

    Raises:
        ConfigError: see `read_yaml`.
    """
    yaml = _library()
    try:
        _expect_bounded(yaml.parse(text, Loader=yaml.SafeLoader), source)
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        _expect_unique_keys(root, source)
        value = loader.construct_document(root) if root is not None else None
    except ConfigError:
        raise
    except (yaml.YAMLError, *_BUILDING) as error:
        reason = shortened(" ".join(str(error).split()), 400)
        raise ConfigError(f"{source} cannot be read as YAML: {reason}.") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{source} must be a mapping, but is a {type(value).__name__}.")
    return value


def brief(value: Any) -> str:
    """A value as text for a message; large or deeply nested parts are left out."""
    return _BRIEF.repr(value)


def _expect_bounded(events: Iterator[Any], source: str) -> None:
    """Count the values that the text expands to, event by event, and stop at the first limit."""
    yaml = _library()
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and values before it
    count = 0
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = count - before
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
            if len(event.value) > MAX_SCALAR:
                raise ConfigError(
                    f"{source} holds a value of {len(event.value):,} characters, more than the limit "
                    f"of {MAX_SCALAR:,}."
                )
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_nodes):
                raise ConfigError(f"{source} is not plain YAML: '{event.anchor}' contains itself.")
            count += sizes.get(event.anchor, 1)
        if len(open_nodes) > MAX_DEPTH:
            raise ConfigError(
                f"{source} is nested more than {MAX_DEPTH} levels deep, the limit for configurations."
            )
        if count > MAX_VALUES:
            raise ConfigError(
                f"{source} has more than {MAX_VALUES:,} values after expanding its aliases, the limit for "
                "configurations."
            )


def _expect_unique_keys(root: Any, source: str) -> None:
    """Of several equal keys, PyYAML would take the last."""
    yaml = _library()
    waiting: list[Any] = [root]
    done: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in done:  # an alias
            continue
        done.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            waiting += [value for _, value in node.value]
            lines: dict[tuple[str, str], int] = {}
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                name, line = (key.tag, key.value), key.start_mark.line + 1
                if name in lines and key.tag != _MERGE:
                    where = f"in lines {lines[name]} and {line}"
                    raise ConfigError(f"{source} sets {brief(key.value)} twice, {where}: keep one.")
                lines[name] = line


def _library() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingDependencyError(
            "configurations need the 'PyYAML' package: pip install 'shared_tmu[models]'."
        ) from error
    return yaml


class _Brief(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        """Convert a number to text; Python refuses to write numbers of thousands of digits."""
        return (
            f"a number of {x.bit_length()} bits" if x.bit_length() > MAX_BITS else super().repr_int(x, level)
        )


def _make_brief() -> reprlib.Repr:
    made = _Brief()
    made.maxdict = made.maxlist = made.maxtuple = made.maxset = 6
    made.maxlevel = 3
    made.maxstring = made.maxother = 80
    made.maxlong = 40
    return made


_BRIEF = _make_brief()
