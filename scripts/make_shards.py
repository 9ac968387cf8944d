"""Draws training pictures before training, on all cores; training itself draws missing pictures.

Run it as:

    python scripts/make_shards.py --count 20000 --seed 1 --max-turn 90 --clutter 0.4 --degrade 0.4
    python scripts/make_shards.py --variety 1 --count 20000 --seed 2
    python scripts/make_shards.py --of body --count 20000
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from shared_tmu.errors import InputError
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import named_path
from shared_tmu.synth.body.shards import BODY
from shared_tmu.synth.scene import Difficulty
from shared_tmu.synth.shards import HAND, SHARD, make_shards
from shared_tmu.training.drawing import Scenes

KINDS = {"hand": HAND, "body": BODY}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the missing pictures; returns the exit status.

    Raises:
        ConfigError: training would refuse such scenes.
        InputError: there can be no such folder.
    """
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--of", choices=KINDS, default="hand", help="what the pictures show")
    parser.add_argument("--cache", type=named_path, default=Path("data/cache"), help="folder of the shards")
    parser.add_argument("--count", type=int, default=20000, help="number of pictures")
    parser.add_argument("--seed", type=int, default=1, help="seed of the sequence of scenes")
    parser.add_argument(
        "--max-turn",
        type=float,
        default=180.0,
        help="largest rotation away from the upright back of the hand, degrees",
    )
    parser.add_argument(
        "--clutter", type=float, default=1.0, help="0 for plain background, 1 for full clutter"
    )
    parser.add_argument(
        "--degrade", type=float, default=1.0, help="0 for clean pictures, 1 for blur and noise"
    )
    parser.add_argument("--variety", type=float, default=0.0, help="share of photograph-like pictures, 0..1")
    parser.add_argument("--alike", type=float, default=0.0, help="share of these in the hand's colours, 0..1")
    parser.add_argument("--other-hand", type=float, default=0.0, help="share of hands of Anny's shapes, 0..1")
    parser.add_argument("--processes", type=int, default=1, help="number of drawing processes")
    args = parser.parse_args(arguments)
    shares = {"variety": args.variety, "alike": args.alike, "other_hand": args.other_hand}
    difficulty = Difficulty(args.max_turn, args.clutter, args.degrade, **shares)
    scenes, kind = Scenes(args.seed, args.count, difficulty), KINDS[args.of]
    try:
        args.cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"--cache {args.cache} cannot be made ({reason}): name another folder.") from error
    shards = make_shards(args.cache, scenes.seed, scenes.count, scenes.difficulty, args.processes, kind)
    for _ in tqdm(shards, total=(scenes.count + SHARD - 1) // SHARD, unit="shard"):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
