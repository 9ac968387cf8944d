"""A train.py that only pretends: it counts steps, keeps checkpoints, ends on SIGTERM, and exports files."""

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
TOYS = FOLDER.parent
BATCH = 10
CURVE = """stage,step,images,seconds,val/pa_mpvpe_mm,val/error_2d_px
again,60,600,1.0,12.5,9
deep,10,100,2.0,11.5,8
"""


def read_words() -> dict[str, str]:
    """The settings on the command line, without quotes."""
    words = (word.lstrip("+").partition("=") for word in sys.argv[1:] if "=" in word)
    return {key: value.strip("'") for key, _, value in words}


def train(stage: str, images: int, batch_size: int, out: Path, asked: list[int]) -> None:
    """All steps of a stage that are missing."""
    steps = images // batch_size
    folder = out / stage
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "done.safetensors").exists():
        return
    (folder / "stage.json").write_text(json.dumps({"images": images, "batch_size": batch_size}))
    step = int((folder / "step").read_text()) if (folder / "step").exists() else 0
    while step < steps:
        time.sleep(float((TOYS / "sleep").read_text()))
        step += 1
        if step % 5 == 0 or asked:
            shutil.copyfile(TOYS / "checkpoints" / f"{step}.ckpt", folder / "half")
            (folder / "half").rename(folder / "last.ckpt")
            (folder / "step").write_text(str(step))
        if asked:
            sys.exit(143)
    header = json.dumps({"__metadata__": {"steps": str(steps), "seconds": "1.0"}}).encode()
    (folder / "own.safetensors").write_bytes(b"")
    (folder / "done.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


def record(given: dict[str, str]) -> dict[str, object]:
    """What training writes beside its weights."""
    scenes = {"seed": int(given["stages.again.seed"]), "count": int(given["stages.again.count"])}
    how = {"difficulty": {"max_turn_deg": 180.0}, "also": [], "images_seen": 350, "seconds": 1.0}
    stages = [{"name": name, "depth": depth, "images": 10, **scenes, **how} for name, depth in STAGES.items()]
    return {
        **{"command": "c", "commit": "d", "finished": "f", "seed": 0, "versions": {}, "stages": stages},
        "parent": {"file": Path(given["start_from"]).name},
        "backbone": None if given["backbone_from"] == "null" else {"file": Path(given["backbone_from"]).name},
        "total": {"images_seen": 700, "images_seen_before": None, "scenes": 1, "seconds": 2.0},
        "validation": {"seed": 1, "count": 2, "last": {"val/pa_mpvpe_mm": 11.5}},
        "machine": {"processor": "p", "threads": 1},
    }


STAGES = {"again": 1, "deep": 2}


def main() -> None:
    """Pretend to train."""
    given = read_words()
    out, export = Path(given["out"]), Path(given["export_to"])
    files = {key: Path(given[key]) for key in ("start_from", "backbone_from") if given[key] != "null"}
    digests = {key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in files.items()}
    about = {"nice": os.nice(0), "threads": os.environ["OMP_NUM_THREADS"], **given, **digests}
    with (out.parent / "started").open("a") as file:
        file.write(json.dumps(about) + "\n")
    if (TOYS / "fails").exists():
        sys.exit("ConfigError: it was asked to fail")
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    for stage in STAGES:
        batch_size = int(given.get(f"stages.{stage}.batch_size", BATCH))
        train(stage, int(given[f"stages.{stage}.images"]), batch_size, out, asked)
    export.mkdir(exist_ok=True)
    (out / "curve.csv").write_text(CURVE)
    (weights,) = (FOLDER / "weights").glob("*_thin.safetensors")
    files = {
        **{".curve.csv": CURVE, ".training.json": json.dumps(record(given)), ".yaml": "sizes: new\n"},
        ".safetensors": f"{out.name} from {given['start_from']}",
    }
    for suffix, text in files.items():
        (export / weights.name).with_suffix(suffix).write_text(text)


if __name__ == "__main__":
    main()
