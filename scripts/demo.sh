#!/usr/bin/env bash
# Sets everything up (once) and runs the demo of a model with token merging on the sample pictures.
#
#   bash scripts/demo.sh                                     HaMeR on the samples, at --r 5x20
#   bash scripts/demo.sh --img_folder DIR --r 10x16          your own pictures; any option of demo.py
#   bash scripts/demo.sh --video clip.mp4                    your own video
#   bash scripts/demo.sh --img_folder DIR --engine ray       the machines of a Ray cluster share the pictures
#   bash scripts/demo.sh wilor                               another model: hamer, wilor or smplest-x, then options
#   bash scripts/demo.sh --help                              all options
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/_common.sh"

choose_model "${1:-}"
[ -z "$NAMED" ] || shift
case " $* " in
    *" --engine ray "* | *" --engine=ray "*) prepare_environment demo-ray -r requirements.txt -e "../shared_tmu[ray]" ;;
    *) prepare_environment demo -r requirements.txt ;;
esac

# The user's options come last, so they win. Paths stay relative to where the user stands.
given=(--r 5x20 --out_folder "$ROOT/demo_out/${FOLDER%_TMU}")
case " $* " in *" --video"*) ;; *) given+=(--img_folder "$ROOT/assets/$SAMPLES") ;; esac
exec "$VENV_PYTHON" "$ROOT/$FOLDER/demo.py" "${given[@]}" "$@"
