"""torchvision beside a build of torch that it was not made for."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest


@pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")
def test_operators_that_do_not_load_stop_no_import():
    """Whichever build of torch is installed here."""
    code = "from shared_tmu.runtime.torchvision import declare_operators as d; d(); d(); import torchvision"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_torchvision_is_nothing_to_declare(monkeypatch):
    from shared_tmu.runtime import torchvision

    monkeypatch.setattr(torchvision, "find_spec", lambda _: None)
    torchvision.declare_operators()
