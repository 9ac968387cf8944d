#!/usr/bin/env bash
# Sets everything up (once) and serves the page, on this machine only: a picture, a slider, meshes, merged tokens, times.
#
#   bash scripts/page.sh                     http://127.0.0.1:7860
#   bash scripts/page.sh --port 8000         any option of python -m shared_tmu.page
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/_common.sh"

prepare_environment page -r requirements.txt -e "../shared_tmu[page]"
exec "$VENV_PYTHON" -m shared_tmu.page "$@"
