#!/usr/bin/env bash
# Checks Containerfile: builds and runs it where docker or podman works, else runs its steps in a clean folder.
#
#   bash scripts/check_container.sh DIR
#   PYTHON=python3.11 bash scripts/check_container.sh DIR    the Python of the second way
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/_common.sh"

[ $# -eq 1 ] || fail "name a folder to work in: bash scripts/check_container.sh DIR"
mkdir -p -- "$1"
cd -- "$1"
[ -z "$(ls -A)" ] || fail "$PWD is not empty."
port=17860

# Waits for the page, and looks at its first answer.
look() {
    for _ in $(seq 120); do
        if python3 - "$1" <<'PY'; then
import sys
import urllib.request

try:
    with urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/", timeout=5) as answer:
        shown = answer.read()
        assert b"Token Merge with Unmerge" in shown and b"synthhand_1_right" in shown
except OSError:
    sys.exit(1)
PY
            say "The page answers"
            return 0
        fi
        sleep 2
    done
    fail "no page on port $1 after four minutes."
}

git -C "$ROOT" archive HEAD | tar -x --one-top-level=context
for builder in docker podman; do
    "$builder" info >/dev/null 2>&1 </dev/null || continue
    say "Building with $builder"
    "$builder" build --file context/Containerfile --tag tmu-check context
    name="$("$builder" run --detach --rm --publish "127.0.0.1:$port:7860" tmu-check)"
    trap '"$builder" stop "$name" >/dev/null' EXIT
    look "$port"
    exit 0
done

say "No builder works here: running the steps of Containerfile in $PWD/root"
"${PYTHON:-python3.11}" -m venv env
work=""
while read -r step rest; do
    case "$step" in
        WORKDIR) work="$PWD/root$rest" && mkdir -p -- "$work" ;;
        COPY)
            read -r from to <<<"$rest"
            mkdir -p -- "$(dirname -- "$work/$to")" && cp -r -- "context/$from" "$work/$to"
            ;;
        RUN)
            case "$rest" in
                apt-get* | useradd*) say "left out: RUN $rest" ;;
                *) say "RUN $rest" && (cd -- "$work" && PATH="$OLDPWD/env/bin:$PATH" bash -c "$rest" </dev/null) ;;
            esac
            ;;
        CMD) command="$rest" ;;
    esac
done <context/Containerfile
# the command as it stands, but on the loopback and a free port, in an empty environment and folder
read -r -a words <<<"$(printf '%s' "$command" | tr -d '[],"')"
say "CMD ${words[*]}"
(cd -- "$work" && exec env -i PATH="$OLDPWD/env/bin:/usr/bin:/bin" HOME="$work" "${words[@]}" \
    --host 127.0.0.1 --port "$port" --device cpu) &
page=$!
trap 'kill "$page"' EXIT
look "$port"
