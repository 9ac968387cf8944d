#!/usr/bin/env bash
# The step of Containerfile that installs: exactly the versions of constraints.txt. DEVICE is cpu or gpu, TORCH_INDEX the
# address of an index with another build of PyTorch, or empty.
set -euo pipefail

case "${DEVICE:-cpu}" in
    cpu) extras=page,demo,eval ;;
    gpu) extras=page,demo,eval,gpu ;;
    *) printf "error: DEVICE is '%s': use cpu or gpu.\n" "$DEVICE" >&2 && exit 1 ;;
esac
index=()
[ -z "${TORCH_INDEX:-}" ] || index=(--extra-index-url "$TORCH_INDEX")
export PIP_CONSTRAINT="$PWD/constraints.txt"
python -m pip install --quiet setuptools wheel
python -m pip install --quiet --no-build-isolation "${index[@]}" "./shared_tmu[$extras]"
python -m pip install --quiet --no-build-isolation --no-deps ./HaMeR_TMU ./WiLoR_TMU ./SMPLest-X_TMU
python -m pip check
