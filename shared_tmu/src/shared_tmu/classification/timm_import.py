"""Imports timm, which is optional."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

from shared_tmu.errors import MissingDependencyError
from shared_tmu.runtime.torchvision import declare_operators


def import_timm() -> Any:
    """The package timm.

    Raises:
        MissingDependencyError: it is not installed, or its import fails.
    """
    if find_spec("timm") is None:
        raise MissingDependencyError("timm is not installed: pip install 'shared_tmu[timm]'.")
    declare_operators()
    try:
        return importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:
        raise MissingDependencyError(
            f"timm is installed, but cannot be imported ({error}): install versions of torch, torchvision "
            "and timm that belong together, as in constraints.txt."
        ) from error
