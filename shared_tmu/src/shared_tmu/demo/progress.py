"""A progress bar that log messages do not break."""

from __future__ import annotations

import logging
from typing import Any

from shared_tmu.errors import MissingDependencyError


def progress(total: int | None, unit: str = "images") -> Any:
    """A context manager that yields a tqdm bar for `total` images; None if the number is unknown."""
    tqdm = _tqdm()
    from tqdm.contrib.logging import logging_redirect_tqdm

    bar = tqdm(total=total, unit=f" {unit}", desc="demo")
    return _Bar(bar, logging_redirect_tqdm([logging.getLogger()]))


def no_progress() -> Any:
    """A bar that is not shown."""
    return _tqdm()(disable=True)


def _tqdm() -> Any:
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise MissingDependencyError("the demo needs tqdm: pip install 'shared_tmu[demo]'.") from error
    return tqdm


class _Bar:
    """The bar, with log messages written above it, opened and closed together."""

    def __init__(self, bar: Any, redirect: Any) -> None:
        self._bar, self._redirect = bar, redirect

    def __enter__(self) -> Any:
        self._redirect.__enter__()
        return self._bar

    def __exit__(self, *error: Any) -> None:
        self._bar.close()
        self._redirect.__exit__(*error)
