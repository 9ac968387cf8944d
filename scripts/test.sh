#!/usr/bin/env bash
# Sets everything up (once) and runs all the checks: ruff, mypy, then pytest in every folder with tests.
#
#   bash scripts/test.sh                                     everything
#   bash scripts/test.sh -k merge -x                         further arguments go to pytest
#   bash scripts/test.sh shared_tmu/tests/test_trunk.py      only this; other folders are left out
#
# Test modules of the model folders have the same names, so each folder gets its own pytest.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/_common.sh"

prepare_environment test -r requirements.txt -e "../shared_tmu[dev]"

# Paths among the arguments choose the folders; make them absolute, since pytest runs inside the folder.
options=()
paths=()
previous=""
for argument in "$@"; do
    file="${argument%%::*}"
    case "$previous" in -k | -m | -p | -o | -W | -n | -r) file="" ;; esac # the value of an option
    case "$argument" in -*) file="" ;; esac
    if [ -n "$file" ] && [ -e "$file" ]; then
        paths+=("$(cd -- "$(dirname -- "$file")" && pwd -P)/$(basename -- "$file")${argument#"$file"}")
    elif [ -n "$file" ] && [ -e "$ROOT/$file" ]; then
        paths+=("$ROOT/$argument")
    else
        options+=("$argument")
    fi
    previous="$argument"
done

failed=()
check() {
    local title="$1"
    shift
    say "$title"
    "$@" </dev/null || failed+=("$title")
}

cd -- "$ROOT"
check "ruff check" "$VENV_PYTHON" -m ruff check .
check "ruff format" "$VENV_PYTHON" -m ruff format --check .
check "mypy" "$VENV_PYTHON" -m mypy

# Without arguments of the user's, share the tests among a few processes of one thread each.
parallel=()
if [ "$#" -eq 0 ]; then
    cores="$(nproc)"
    parallel=(-n "$((cores < 4 ? cores : 4))" --dist loadfile)
    export OMP_NUM_THREADS=1
fi

reports="$(mktemp -d)"
trap 'rm -rf -- "$reports"' EXIT
for folder in scripts *_TMU shared_tmu; do
    [ -d "$folder/tests" ] || continue
    chosen=()
    for path in ${paths[@]+"${paths[@]}"}; do
        case "$path" in "$ROOT/$folder"*) chosen+=("$path") ;; esac
    done
    [ "${#paths[@]}" -eq 0 ] && chosen=(tests)
    [ "${#chosen[@]}" -gt 0 ] || continue
    say "pytest in $folder"
    status=0
    (cd -- "$folder" && "$VENV_PYTHON" -m pytest -c "$ROOT/pyproject.toml" --rootdir "$ROOT" \
        --junitxml "$reports/$folder.xml" ${parallel[@]+"${parallel[@]}"} \
        "${chosen[@]}" ${options[@]+"${options[@]}"} </dev/null) || status=$?
    # 5: nothing in this folder matches the arguments; the closing lines tell whether anything did anywhere
    [ "$status" -eq 0 ] || { [ "$status" -eq 5 ] && [ "$#" -gt 0 ]; } || failed+=("pytest in $folder")
done

status=0
"$VENV_PYTHON" "$ROOT/scripts/sum_tests.py" "$reports" ${failed[@]+"${failed[@]}"} || status=$?
exit "$status"
