#!/usr/bin/env bash
# Checks what runs with NumPy 2 and without MediaPipe, which needs NumPy 1: demo, Python call, eval, bench, with boxes
# and with MediaPipe's hand models in LiteRT.
#
#   bash scripts/check_numpy2.sh DIR                      makes an environment and its results in the folder DIR
#   PYTHON=python3.13 bash scripts/check_numpy2.sh DIR    with another Python; MediaPipe has no wheel for 3.13
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/_common.sh"

[ $# -eq 1 ] || fail "name a folder to work in: bash scripts/check_numpy2.sh DIR"
mkdir -p -- "$1"
cd -- "$1"
[ -e env/bin/pip ] || "${PYTHON:-python3}" -m venv env
py="$PWD/env/bin/python"
say "Installing into $PWD/env"
"$py" -m pip install --quiet "numpy>=2" setuptools wheel "$ROOT/shared_tmu[models,images,render,eval,litert]" av </dev/null
"$py" -m pip install --quiet --no-deps --no-build-isolation "$ROOT/HaMeR_TMU" </dev/null
"$py" -c 'import importlib.util as u, numpy; assert numpy.__version__ >= "2" and u.find_spec("mediapipe") is None'

name=synthhand_1_right.jpg
printf '{"%s": [{"box_xyxy": [232, 133, 367, 314], "is_right": true}]}' "$name" >boxes.json
say "demo --boxes"
"$py" -m hamer_tmu demo --img_folder "$ROOT/assets/samples/$name" --boxes boxes.json --out_folder out --r 8x16
test -s "out/${name%.jpg}.npz"
say "demo with LiteRT"
"$py" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
    -d models mediapipe==0.10.21 </dev/null
"$py" -m hamer_tmu demo --img_folder "$ROOT/assets/samples/$name" --detector_dir models --out_folder found --r 8x16
grep -q '"detector": "litert"' "found/${name%.jpg}.json"
say "the Python call, and merging in a model of one's own"
"$py" - "$ROOT/assets/samples/$name" <<'PY'
import sys

import hamer_tmu
import numpy as np
import torch

model = hamer_tmu.load(r="8x16", device="cpu")
(hand,) = model.predict(sys.argv[1], [[232, 133, 367, 314]], ["right"])
saved = np.load("out/synthhand_1_right.npz")
assert np.array_equal(hand.vertices_m, saved["vertices_m"][0])
found = np.load("found/synthhand_1_right.npz")  # the box of MediaPipe itself, which was given above, is rounded
assert found["is_right"].tolist() == [True]
assert np.abs(found["box_xyxy_px"][0] - [232, 133, 367, 314]).max() < 12
network = hamer_tmu.load_hamer()
with hamer_tmu.patch(network, "5x20"), torch.inference_mode():
    assert network({"img": torch.zeros(1, 3, 256, 256)})["pred_vertices"].shape == (1, 778, 3)
PY
say "eval and bench"
"$py" -m hamer_tmu eval --r off,8x16 --limit 8 --data_dir data
"$py" -m shared_tmu.bench --model hamer --size tiny --r 8x16 --rounds 2 --warmup 1
say "All of it runs with NumPy $("$py" -c 'import numpy; print(numpy.__version__)')"
