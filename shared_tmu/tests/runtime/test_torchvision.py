"""torchvision beside a build of torch that it was not made for."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torchvision")


@pytest.mark.parametrize("before", ["import pytorch_lightning", "import timm", "import torchvision"])
def test_operators_that_do_not_load_stop_no_import(before):
    """Whichever build of torch is installed here."""
    code = f"from shared_tmu.runtime.torchvision import declare_operators as d; d(); d(); {before}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_torchvision_is_nothing_to_declare(monkeypatch):
    from shared_tmu.runtime import torchvision

    monkeypatch.setattr(torchvision, "find_spec", lambda _: None)
    torchvision.declare_operators()
