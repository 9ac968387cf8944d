"""A make_shards.py that only pretends: its shards are empty files."""

import sys
from pathlib import Path

TOYS = Path(__file__).resolve().parent
KINDS = {"hand": "synthhand", "body": "synthbody"}
SHARD = 50


def main() -> None:
    """Pretend to draw."""
    given = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    if (TOYS / "fails").exists():
        sys.exit("no embreex")
    kind = KINDS[given["--of"]]
    folder = Path(given["--cache"]) / f"{kind}-{given['--seed']}-{(TOYS / kind).read_text()}"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(int(given["--count"]) // SHARD):
        (folder / f"{number:05d}.npz").touch()


if __name__ == "__main__":
    main()
