"""Adds the path of shared_tmu, beside this folder, which pyproject.toml cannot express."""

from pathlib import Path

from setuptools import setup

SHARED = Path(__file__).resolve().parents[1] / "shared_tmu"
PLACE = f" @ {SHARED.as_uri()}" if SHARED.is_dir() else ""  # alone in a source archive

setup(
    install_requires=[f"shared_tmu[demo,eval]{PLACE}"],
    extras_require={extra: [f"shared_tmu[{extra}]{PLACE}"] for extra in ("page", "train")},
)
