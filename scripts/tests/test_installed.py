"""Installed outside of the clone, the model packages have all that they need, together in one process."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("shared_tmu", "HaMeR_TMU", "WiLoR_TMU", "SMPLest-X_TMU")
CODE = """
import sys
from pathlib import Path
import numpy as np
import hamer_tmu, shared_tmu, smplest_x_tmu, wilor_tmu

site = Path(sys.argv[1])
picture = np.full((120, 160, 3), 90, np.uint8)
for package, sides, vertices in (
    (hamer_tmu, ["left"], 778), (wilor_tmu, ["right"], 778), (smplest_x_tmu, None, 10475)
):
    assert site in Path(package.__file__).parents, package.__file__
    model = package.load(r="8x16", device="cpu")
    (found,) = model.predict(picture, [[40, 20, 100, 100]], sides)
    assert found.vertices_m.shape == (vertices, 3)
    found.save("hand.glb")
assert site in Path(shared_tmu.__file__).parents
print("all right")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages as pip installs them, without anything of this clone."""
    copy, site = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("site")
    listed = subprocess.run(["git", "ls-files", "-z", *FOLDERS], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file() and "/tests/" not in name:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", site, *(copy / folder for folder in FOLDERS)], check=True, cwd=copy)
    return site


def run(site: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_all_models_predict_in_one_process(site: Path, tmp_path: Path) -> None:
    done = run(site, tmp_path, "-c", CODE, str(site))
    assert (done.returncode, done.stdout) == (0, "all right\n"), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["hand.glb"]


@pytest.mark.parametrize("command", ["hamer-tmu", "wilor-tmu", "smplest-x-tmu"])
def test_the_commands_are_installed(command: str, site: Path, tmp_path: Path) -> None:
    done = run(site, tmp_path, str(site / "bin" / command), "demo", "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {command} demo")
