"""Errors of every sample of a run, in a Parquet file, so that any two runs can be compared in pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError, MissingAssetError, MissingDependencyError
from shared_tmu.files import open_file, replacing
from shared_tmu.metrics.bootstrap import bootstrap_interval

PER_SAMPLE = "per_sample.parquet"
SAMPLE, IMAGE, GROUP = "sample", "image", "group"
_ABOUT = b"shared_tmu"


@dataclass(frozen=True)
class PerSample:
    """The errors of a run.

    Args:
        samples: their names, each once.
        images: names of their pictures.
        errors: by name, `[N]`; NaN where a sample has none.
        about: what the run was, in plain values: `dataset`, `dataset_sha256`, `model`, `label`, ...
        groups: number of the group of each, see `EvalSet.groups`; without them every sample is one.
    """

    samples: tuple[str, ...]
    images: tuple[str, ...]
    errors: Mapping[str, NDArray[np.float64]]
    about: Mapping[str, Any]
    groups: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Samples are groups if nothing else is said."""
        if not self.groups:
            object.__setattr__(self, "groups", tuple(range(len(self.samples))))

    def interval(self, values: NDArray[np.float64]) -> list[float]:
        """The 95 % interval of the mean of some numbers `[N]` of these samples; those that are not finite do
        not count. Empty for fewer than two groups, which tell nothing about how far others differ.
        """
        known = np.isfinite(values)
        groups = np.asarray(self.groups)[known]
        varied = len(np.unique(groups)) > 1
        return list(bootstrap_interval(values[known], groups=groups)) if varied else []


def write_per_sample(folder: Path, rows: PerSample) -> None:
    """Write `per_sample.parquet` into a folder, in one step.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    require_pyarrow()
    import pyarrow as pa
    from pyarrow import parquet

    names = {SAMPLE: list(rows.samples), IMAGE: list(rows.images), GROUP: list(rows.groups)}
    table = pa.table({**names, **rows.errors})
    about = json.dumps(dict(rows.about), allow_nan=False).encode()
    with replacing(folder / PER_SAMPLE) as beside:
        parquet.write_table(table.replace_schema_metadata({_ABOUT: about}), beside, write_page_checksum=True)


def read_per_sample(path: Path) -> PerSample:
    """Read such a file.

    Args:
        path: the file, or the folder of a run.

    Raises:
        MissingAssetError: there is none.
        InputError: it is damaged, or another file.
        MissingDependencyError: pyarrow is not installed.
    """
    require_pyarrow()
    import pyarrow as pa
    from pyarrow import parquet

    path = path / PER_SAMPLE if path.is_dir() else path
    with open_file(path, InputError, "eval.py writes one for each run.", "the file of errors") as file:
        try:
            table = parquet.read_table(file, page_checksum_verification=True)
            about = json.loads((table.schema.metadata or {})[_ABOUT])
            columns = {name: table[name].to_numpy() for name in table.column_names}
            samples, images = (tuple(map(str, columns.pop(name))) for name in (SAMPLE, IMAGE))
            groups = tuple(map(int, columns.pop(GROUP, ())))
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{path} cannot be read as errors of samples: {error}.") from error
    numeric = all(values.dtype.kind == "f" for values in columns.values())
    if not columns or not numeric or not isinstance(about, dict) or len(set(samples)) != len(samples):
        raise InputError(f"{path} is not a file of errors: expected numbers, and each sample once.")
    return PerSample(samples, images, columns, about, groups)


def find_per_sample(folder: Path) -> PerSample | None:
    """The errors of a run; None if they are not there, or damaged."""
    try:
        return read_per_sample(folder)
    except (MissingAssetError, InputError):
        return None


def unread_samples(record: Mapping[str, Any], results: Path) -> list[str]:
    """Samples of a result line that have no errors, because their pictures cannot be read.

    Args:
        record: a line; its `unread` is their number, and missing for sets that score all samples or none.
        results: folder of the lines.
    """
    if not record.get("unread"):
        return []
    rows = read_per_sample(results / record["files"])
    known = np.any([np.isfinite(values) for values in rows.errors.values()], axis=0)
    return [name for name, is_known in zip(rows.samples, known, strict=True) if not is_known]


def require_pyarrow() -> None:
    """Find out before any work whether errors of samples can be written.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "saving errors of samples needs pyarrow: pip install 'shared_tmu[eval]'."
        ) from error


def means(errors: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Means over the samples that have a value, NaN if none has one."""
    known = {name: values[np.isfinite(values)] for name, values in errors.items()}
    return {name: float(values.mean()) if len(values) else float("nan") for name, values in known.items()}
