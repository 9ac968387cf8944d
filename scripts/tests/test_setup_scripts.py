"""_common.sh: it uses a Python that fits, or says what to install. Nothing is installed in these tests."""

import subprocess
from pathlib import Path

import pytest

COMMON = Path(__file__).resolve().parents[1] / "_common.sh"


def fake(path: Path, body: str) -> Path:
    """Write an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def fake_python(path: Path, version: str, has_venv: bool = True) -> Path:
    """Write a program that answers the questions of _common.sh like a Python of this version."""
    return fake(
        path,
        f'case "$*" in *version_info*) echo {version} ;; *ensurepip*) exit {0 if has_venv else 1} ;; esac',
    )


def shell(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code after _common.sh."""
    return subprocess.run(
        ["/bin/bash", "-c", f'. "{COMMON}"; {code}'],
        env={"PATH": "/usr/bin:/bin", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("version", ["3.11", "3.12"])
def test_uses_a_python_that_fits(version: str, tmp_path: Path) -> None:
    fake_python(tmp_path / "python3.11", "3.10")  # a name that lies, as version managers' shims may
    wanted = fake_python(tmp_path / "python3", version)
    fake_python(tmp_path / "python3.12", version, has_venv=False)
    done = shell("find_python", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert done.stdout.strip() == str(wanted)


def test_names_the_package_of_a_missing_venv_module(tmp_path: Path) -> None:
    done = shell("find_python", PYTHON=str(fake_python(tmp_path / "python3", "3.11", has_venv=False)))
    assert done.returncode == 1
    assert "sudo apt install python3.11-venv" in done.stderr


def test_says_which_python_is_needed_and_found(tmp_path: Path) -> None:
    done = shell("find_python", PYTHON=str(fake_python(tmp_path / "python3", "3.13")))
    assert done.returncode == 1
    assert "3.11 or 3.12" in done.stderr
    assert "3.13" in done.stderr


@pytest.mark.parametrize(
    ("library", "package"),
    [("libGL.so.1", "apt install libgl1"), ("libgthread-2.0.so.0", "libglib2.0-0"), ("libx.so", "apt-file")],
)
def test_names_the_package_of_a_missing_library(library: str, package: str, tmp_path: Path) -> None:
    message = f"ImportError: {library}: cannot open shared object file: No such file or directory"
    fake(tmp_path / "bin/python", f"echo 'Traceback' >&2; echo '{message}' >&2; exit 1")
    done = shell("check_libraries", TMU_VENV=str(tmp_path))
    assert done.returncode == 1
    assert library in done.stderr
    assert package in done.stderr


@pytest.mark.parametrize(
    ("words", "folder", "options"),
    [
        ("", "HaMeR_TMU", "--r 5x20 --out_folder ROOT/demo_out/HaMeR --img_folder ROOT/assets/samples"),
        ("hamer --r off", "HaMeR_TMU",
         "--r 5x20 --out_folder ROOT/demo_out/HaMeR --img_folder ROOT/assets/samples --r off"),
        ("wilor --video a.mp4", "WiLoR_TMU", "--r 5x20 --out_folder ROOT/demo_out/WiLoR --video a.mp4"),
        ("--video=a.mp4", "HaMeR_TMU", "--r 5x20 --out_folder ROOT/demo_out/HaMeR --video=a.mp4"),
        ("smplest-x", "SMPLest-X_TMU",
         "--r 5x20 --out_folder ROOT/demo_out/SMPLest-X --img_folder ROOT/assets/samples_people"),
    ],
)  # fmt: skip
def test_the_demo_runs_the_model_that_is_asked_for(
    words: str, folder: str, options: str, tmp_path: Path
) -> None:
    """A copy of the scripts in a tree of their own, with a Python that says what it was told to run."""
    for name in ("demo.sh", "_common.sh"):
        (tmp_path / "scripts").mkdir(exist_ok=True)
        (tmp_path / "scripts" / name).write_text(COMMON.with_name(name).read_text())
    common = tmp_path / "scripts" / "_common.sh"
    common.write_text(common.read_text() + "\nprepare_environment() { :; }\n")  # nothing is installed here
    fake(tmp_path / "venv/bin/python", 'echo "$@"')
    done = subprocess.run(
        ["/bin/bash", "scripts/demo.sh", *words.split()],
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "TMU_VENV": str(tmp_path / "venv")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == f"ROOT/{folder}/demo.py {options}".replace("ROOT", str(tmp_path))


def test_a_model_that_does_not_exist_is_said_at_once() -> None:
    done = shell("choose_model resnet")
    assert done.returncode == 1
    assert "hamer (which is what runs without a name), wilor or smplest-x" in done.stderr


def test_pictures_in_place_of_a_model_are_told_their_flag() -> None:
    for given in (str(COMMON.parent), "~/pictures", "tests"):
        done = shell(f"choose_model '{given}'")
        assert done.returncode == 1
        assert done.stderr.count("is no model") == 1
        assert "pictures are given by --img_folder DIR, a video by --video FILE" in done.stderr


@pytest.mark.parametrize("state", ["none", "unfinished", "broken", "sound"])
def test_remakes_a_half_made_environment(state: str, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    log = tmp_path / "log"
    python = fake_python(tmp_path / "python3", "3.11")
    python.write_text(python.read_text() + f'[ "$2" = venv ] && echo made >>"{log}"\nexit 0\n')
    if state != "none":
        fake(venv / "bin/python", "exit 1" if state == "broken" else "exit 0")
        (venv / "pyvenv.cfg").touch()
        (venv / "old").touch()
    if state == "unfinished":
        (venv / ".tmu-unfinished").touch()
    done = shell("make_venv", TMU_VENV=str(venv), PYTHON=str(python))
    assert done.returncode == 0, done.stderr
    assert log.exists() == (state != "sound")
    assert (venv / "old").exists() == (state == "sound")


def test_leaves_a_folder_alone_that_is_no_environment(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    done = shell("make_venv", TMU_VENV=str(tmp_path))
    assert done.returncode == 1
    assert "not a Python environment" in done.stderr
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("system", ["MINGW64_NT-10.0", "MSYS_NT-10.0-22631", "CYGWIN_NT-10.0"])
def test_windows_shells_are_told_what_works_there(system: str, tmp_path: Path) -> None:
    fake(tmp_path / "uname", f"echo {system}")
    done = shell("echo went on", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert done.returncode == 1
    assert "went on" not in done.stdout
    assert "WSL" in done.stderr
