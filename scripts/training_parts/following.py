"""What has to be made again when the weights of a bundled model are replaced, and the commands for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundled import REPOSITORY, Bundled
from safetensors import safe_open

_LEARNED = ("r", "count", "images", "batch_size", "warmup", "objective", "lr", "flops_weight", "seed")
_MEASURING = (
    "measure_masks", "measure_stability", "measure_columns", "measure_layers", "measure_cka",
    "measure_vertices", "measure_clips", "measure_learned", "measure_together", "compare_methods",
)  # fmt: skip


def followers(name: str, model: Bundled, photos: Path | None) -> list[str]:
    """Commands in their order: files that fit the old weights only, then everything that is published.

    Until these files are made again, programs refuse them with one sentence: a probe, a decoder and what
    methods learn each say for which weights they are.

    Args:
        name: of the model, as users type it.
        model: its files.
        photos: folder of photographs.
    """
    where = f"cd {model.folder.name} && "
    found = []
    for path in sorted(model.checkpoint.parent.glob(f"{model.checkpoint.stem}.*.safetensors")):
        part = path.name.split(".")[1]
        if part == "probe":
            found.append(f"python -m shared_tmu.training.probe --model {name}")
        elif part == "decoder":
            found.append(f"{where}python train.py --config-name motion export_to=weights")
        else:
            words = " ".join(f"{key}={value}" for key, value in _recipe(path).items())
            found.append(
                f"{where}python train.py --config-name learned method={part} {words} export_to=weights"
            )
    shown = " --photos DIR" if photos else ""
    return [
        *found,
        "git add -A && git commit     # weights, records and these files: result lines name their commit",
        f"python scripts/evaluate_bundled.py --model {name}{shown}     # on a quiet machine; fills the card",
        *(
            f"python scripts/{program}.py --help     # measured on the old weights, too"
            for program in _programs()
        ),
        f"python scripts/check_cards.py --model {name}",
    ]


def _recipe(path: Path) -> Mapping[str, Any]:
    """Settings with which a learned file was made, as its metadata has them."""
    with safe_open(path, "pt") as file:
        recipe = json.loads((file.metadata() or {}).get("recipe", "{}"))
    return {key: recipe[key] for key in _LEARNED if recipe.get(key) is not None}


def _programs() -> list[str]:
    return [program for program in _MEASURING if (REPOSITORY / "scripts" / f"{program}.py").exists()]
