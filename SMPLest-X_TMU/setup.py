"""The one thing that pyproject.toml cannot say: where shared_tmu lies, which is beside this folder."""

from pathlib import Path

from setuptools import setup

SHARED = Path(__file__).resolve().parents[1] / "shared_tmu"
PLACE = f" @ {SHARED.as_uri()}" if SHARED.is_dir() else ""  # a source archive of this folder lies alone

setup(install_requires=[f"shared_tmu[demo,eval]{PLACE}"])
