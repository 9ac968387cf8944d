"""Where and with what a stage is trained: what its record says later, whatever the last command asks for."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from shared_tmu.programs.results import describe_environment
from shared_tmu.training.settings import Setting

PACKAGES = (
    "torch", "pytorch-lightning", "numpy", "opencv-contrib-python", "embreex", "scikit-image", "mediapipe",
)  # fmt: skip
_RECORDED = ("accelerator", "devices", "precision", "ema", "compile")


def describe_run(setting: Setting) -> dict[str, Any]:
    """Settings of the machine, the machine, versions and commit, as plain values for a training record."""
    uses_cuda = torch.cuda.is_available() and setting.accelerator != "cpu"
    environment = describe_environment(torch.device("cuda" if uses_cuda else "cpu"), Path(__file__).parent)
    return {
        "setting": {name: getattr(setting, name) for name in _RECORDED},
        "machine": {
            "processor": environment["machine"]["processor"],
            "system": environment["machine"]["system"],
            "threads": torch.get_num_threads(),
            "cuda": uses_cuda,
        },
        "versions": {**environment["versions"], **installed_versions()},
        "commit": environment["commit"],
    }


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that affect the result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
