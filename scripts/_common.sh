# What demo.sh and test.sh share: find a Python, make .venv, install the pinned packages, check that they load.
# Sourced, never run. PYTHON names the interpreter to use, TMU_VENV another place than .venv.
set -euo pipefail

ROOT="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
VENV="${TMU_VENV:-$ROOT/.venv}"
case "$VENV" in /*) ;; *) VENV="$PWD/$VENV" ;; esac
VENV_PYTHON="$VENV/bin/python"

unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX
export PYTHONNOUSERSITE=1 PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { printf '==> %s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# On Windows' own shells a virtual environment has another layout, and several pinned packages have no wheels.
case "$(uname -s)" in
    MINGW* | MSYS* | CYGWIN*)
        fail "these scripts run on Linux and macOS; on Windows use WSL, or 'pip install ./HaMeR_TMU' and hamer-tmu demo." ;;
esac

# Sets FOLDER and SAMPLES to what the demo runs on, and NAMED to the model's name if the argument is one.
choose_model() {
    FOLDER=HaMeR_TMU SAMPLES=samples NAMED="$1"
    case "$1" in
        hamer) ;;
        wilor) FOLDER=WiLoR_TMU ;;
        smplest-x) FOLDER=SMPLest-X_TMU SAMPLES=samples_people ;;
        "" | -*) NAMED="" ;;
        *)
            if [[ "$1" == */* || -e "$1" ]]; then
                fail "'$1' is no model: pictures are given by --img_folder DIR, a video by --video FILE."
            fi
            fail "'$1' is no model: hamer (which is what runs without a name), wilor or smplest-x."
            ;;
    esac
}

# Prints the first interpreter between 3.11 and 3.12 that can make environments.
find_python() {
    local candidates candidate version seen="" no_venv=""
    candidates=(python3.11 python3.12 python3 python /usr/bin/python3.11 /usr/bin/python3.12 /usr/bin/python3)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        version="$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null </dev/null)" || continue
        case "$version" in
            3.11 | 3.12)
                if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1 </dev/null; then
                    command -v "$candidate"
                    return 0
                fi
                no_venv="${no_venv:-$version}"
                ;;
            *) case "$seen" in *"$candidate is $version"*) ;; *) seen="$seen${seen:+, }$candidate is $version" ;; esac ;;
        esac
    done
    if [ -n "$no_venv" ]; then
        fail "Python $no_venv is here, but its venv module is not: sudo apt install python$no_venv-venv"
    fi
    fail "Python 3.11 or 3.12 is needed (MediaPipe has no wheels for others); found: ${seen:-none}." \
        "On Debian or Ubuntu: sudo apt install python3.11 python3.11-venv, or set PYTHON=/path/to/python3.11."
}

# A text that changes whenever the installed packages must: the pins, the package lists, the place, the Python.
fingerprint() {
    "$VENV_PYTHON" - "$ROOT" "$@" <<'PY'
import hashlib, pathlib, sys

root = pathlib.Path(sys.argv[1])
digest = hashlib.sha256(f"{sys.argv} {sys.version}".encode())
names = ("requirements.txt", "pyproject.toml", "setup.py")
of_models = sorted(path for name in names for path in root.glob(f"*_TMU/{name}"))
for path in [root / "constraints.txt", root / "shared_tmu/pyproject.toml", *of_models]:
    digest.update(path.read_bytes())
print(digest.hexdigest())
PY
}

make_venv() {
    local python
    if [ -e "$VENV" ]; then
        if [ ! -e "$VENV/.tmu-unfinished" ] && "$VENV_PYTHON" -m pip --version >/dev/null 2>&1 </dev/null; then
            return 0
        fi
        if [ ! -e "$VENV/pyvenv.cfg" ] && [ ! -e "$VENV/.tmu-unfinished" ] && [ -n "$(ls -A "$VENV")" ]; then
            fail "$VENV exists and is not a Python environment. Move it away, or set TMU_VENV=/another/folder."
        fi
        say "The environment in $VENV is unfinished or broken; making it again"
        rm -rf -- "$VENV"
    fi
    python="$(find_python)"
    say "Making the environment $VENV with $("$python" --version 2>&1) ($python)"
    mkdir -p -- "$VENV"
    : >"$VENV/.tmu-unfinished"
    "$python" -m venv "$VENV" </dev/null || fail "python -m venv failed, see above."
}

# Runs in HaMeR_TMU/, since pip takes the relative path in requirements.txt from the current folder.
pip_install() {
    (cd -- "$ROOT/HaMeR_TMU" &&
        "$VENV_PYTHON" -m pip install --progress-bar off --constraint ../constraints.txt "$@" </dev/null) |
        sed -u -e '/^Requirement already satisfied/d' -e '/^Looking in /d'
}

# OpenCV's wheel needs two libraries of the system; name the package that has the missing one.
check_libraries() {
    local problem library
    problem="$("$VENV_PYTHON" -c 'import cv2, embreex, mediapipe, torch' 2>&1 >/dev/null </dev/null)" && return 0
    library="$(printf '%s' "$problem" | sed -n 's/.*ImportError: \(lib[^:]*\): cannot open shared object.*/\1/p' | tail -n 1)"
    case "$library" in
        libGL.so* | libgthread-2.0.so* | libglib-2.0.so*)
            fail "OpenCV needs the system library $library: sudo apt install libgl1 libglib2.0-0"
            ;;
        lib*) fail "the system library $library is missing: 'apt-file search $library' names its package." ;;
    esac
    printf '%s\n' "$problem" >&2
    fail "the installed packages do not load, see above. To start over: rm -r $VENV"
}

# prepare_environment NAME REQUIREMENT...: everything above, at most once per NAME and fingerprint.
# Two calls at the same time wait for each other.
prepare_environment() {
    local name="$1" wanted stamp folder models=()
    shift
    (
        if command -v flock >/dev/null 2>&1; then
            exec 9<"$ROOT/constraints.txt"
            flock -n 9 || { say "Waiting for another set-up in $ROOT to finish" && flock 9; }
        fi
        make_venv
        stamp="$VENV/.tmu-$name"
        wanted="$(fingerprint "$@")"
        if [ -e "$stamp" ] && [ "$(cat -- "$stamp")" = "$wanted" ]; then
            say "The environment in $VENV is ready"
            exit 0
        fi
        say "Installing the packages pinned in constraints.txt (minutes the first time, mostly PyTorch)"
        : >"$VENV/.tmu-unfinished"
        pip_install --quiet setuptools wheel || fail "pip could not install setuptools, see above."
        for folder in "$ROOT"/*_TMU; do
            models+=(--editable "$folder")
        done
        # the models' own dependencies name the folder shared_tmu, which pip takes for another package than what
        # is installed from it for editing
        { pip_install --no-build-isolation "$@" && pip_install --no-build-isolation --no-deps "${models[@]}"; } ||
            fail "pip could not install the packages, see above. Run the same command again to retry."
        rm -f -- "$VENV/.tmu-unfinished"
        check_libraries
        printf '%s\n' "$wanted" >"$stamp.part"
        mv -f -- "$stamp.part" "$stamp"
    )
}
