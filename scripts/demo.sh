#!/usr/bin/env bash
# Sets everything up (once) and runs the HaMeR demo with token merging on the sample pictures.
#
#   bash scripts/demo.sh                                     the samples, at --r 5x20
#   bash scripts/demo.sh --img_folder DIR --r 10x16          your own pictures; any option of demo.py
#   bash scripts/demo.sh --help                              all options
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/_common.sh"

prepare_environment demo -r requirements.txt

# The user's options come last, so they win. Paths stay relative to where the user stands.
exec "$VENV_PYTHON" "$ROOT/HaMeR_TMU/demo.py" \
    --r 5x20 --img_folder "$ROOT/assets/samples" --out_folder "$ROOT/demo_out" "$@"
