"""Licensed and large files: lists them, tells where each belongs and which command needs it, and checks which
you have.

Nothing is downloaded here: most of these files have a licence that only you can accept. Give the file that
you downloaded (or its archive, or a folder that contains it) to `place`: this checks the SHA-256 if it is
known and copies the needed files to data/, where demo.py and eval.py look for them.

    python scripts/assets.py status                                   list everything, and what you have
    python scripts/assets.py explain mano                             licence, address, places, use python
    scripts/assets.py place mano --from ~/Downloads/mano_v1_2.zip python scripts/assets.py verify checksums of
    all existing files
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from asset_files import AssetError, place, sha256_of, shown
from asset_table import ASSETS, Asset, AssetPart

REPOSITORY = Path(__file__).resolve().parents[1]


def state_of(asset: Asset, data: Path) -> str:
    """Return 'missing', 'incomplete' or 'found' for the asset's files in `data`."""
    needed = [(len(part.present(data)), part.count) for part in asset.parts if not part.optional]
    if all(here >= count for here, count in needed):
        return "found"
    return "incomplete" if any(part.present(data) for part in asset.parts) else "missing"


def each(names: Sequence[str], act: Callable[[str, Asset], int]) -> int:
    """Run an action for each asset; 1 if one returned 1 or could not be read, which is reported at the
    end.
    """
    unseen: dict[str, None] = {}
    status = 0
    for name in names:
        try:
            status |= act(name, ASSETS[name])
        except OSError as error:
            sys.stdout.write(f"{name:11} unreadable  {ASSETS[name].title}\n")
            unseen[f"{shown(error.filename or name)} ({error.strerror or error})"] = None
    if unseen:
        sys.stderr.write(f"error: cannot read {', '.join(unseen)}.\n")
    return 1 if unseen else status


def show_status(name: str, asset: Asset, data: Path) -> int:
    """Show in one line whether the files of an asset exist."""
    sys.stdout.write(f"{name:11} {state_of(asset, data):11} {asset.title}\n")
    return 0


def explain(name: str, asset: Asset, data: Path) -> int:
    """Show everything that is known about an asset."""
    sys.stdout.write(
        f"{name}: {asset.title}\n"
        f"  state    {state_of(asset, data)} in {shown(data)}\n"
        f"  licence  {asset.licence}\n"
        f"  where    {asset.where}\n"
        f"  then     python scripts/assets.py place {name} --from <the downloaded file, archive or folder>\n"
        f"  use      {asset.use}\n"
        "  files\n"
    )
    for part in asset.parts:
        optional = " (optional)" if part.optional else ""
        checksum = f"SHA-256 {part.sha256}" if part.sha256 else "no checksum known"
        sys.stdout.write(f"    {shown(data / part.place)}{optional}: {part.state(data)}; {checksum}\n")
    return 0


def verify(name: str, asset: Asset, data: Path) -> int:
    """Compare checksums of existing files; 1 if a file is damaged or an asset is incomplete."""
    state = state_of(asset, data)
    if state == "missing":
        sys.stdout.write(f"{name:11} missing\n")
        return 0
    damaged = False
    for part in asset.parts:
        verdict = _checked(part, data)
        damaged |= verdict.startswith("damaged")
        sys.stdout.write(f"{name:11} {verdict:18} {part.place}\n")
    return int(damaged or state == "incomplete")


def _checked(part: AssetPart, data: Path) -> str:
    here = part.present(data)
    if len(here) < part.count:
        return "missing" if not here else part.state(data)
    if part.sha256 is None:
        empty = [path for path in here if path.stat().st_size == 0]
        return "damaged: empty" if empty else "no checksum known"
    return "verified" if all(sha256_of(path) == part.sha256 for path in here) else "damaged: SHA-256"


def place_download(name: str, source: Path, data: Path, force: bool) -> int:
    """Copy the needed files of a download to their places."""
    asset = ASSETS[name]
    placed = place(asset, source.expanduser(), data, force)
    sys.stdout.write(f"{len(placed)} file(s) placed in {shown(data)}\n")
    for part in asset.parts:
        checked = "no checksum known" if part.sha256 is None else "not checked" if force else "verified"
        sys.stdout.write(f"  {part.name}: {checked}\n")
    sys.stdout.write(f"licence: {asset.licence}\nuse: {asset.use}\n")
    return 0


def known_name(text: str) -> str:
    """The asset of this name; case, `-` and `_` are ignored."""
    found = {name.replace("_", ""): name for name in ASSETS}
    try:
        return found[text.casefold().replace("-", "").replace("_", "")]
    except KeyError:
        known = ", ".join(sorted(ASSETS))
        raise argparse.ArgumentTypeError(f"there is no asset {text!r}: use one of {known}") from None


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--data_dir", type=Path, default=REPOSITORY / "data", help="default: data/ of the repository"
    )
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="{status,explain,verify,place}")
    for command, text in (
        ("status", "list everything, and what you have"),
        ("explain", "licence, address, places and checksums of assets"),
        ("verify", "compare checksums of existing files"),
        ("place", "copy the files of a download to their places"),
    ):
        added = commands.add_parser(command, help=text, parents=[shared])
        if command == "place":
            added.add_argument("names", nargs=1, type=known_name, metavar="NAME")
            added.add_argument(
                "--from",
                dest="source",
                type=Path,
                required=True,
                help="the file, archive or folder that you downloaded",
            )
            added.add_argument(
                "--force",
                action="store_true",
                help="also accept a file with another checksum, and replace files",
            )
        else:
            number = "+" if command == "explain" else "*"
            added.add_argument("names", nargs=number, type=known_name, metavar="NAME")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run a command; 0 on success, 1 with one sentence on standard error otherwise."""
    args = parse_arguments(argv)
    try:
        if args.command == "place":
            return place_download(args.names[0], args.source, args.data_dir, args.force)
        act = {"status": show_status, "explain": explain, "verify": verify}[args.command]
        return each(args.names or list(ASSETS), lambda name, asset: act(name, asset, args.data_dir))
    except AssetError as error:
        sys.stderr.write(f"error: {error}\n")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {shown(error)}.\n")
    return 1


def _run() -> int:
    try:
        from shared_tmu.programs.console import run_program
    except ImportError:  # before anything is installed: what follows needs no package
        return main()
    return run_program(main)


if __name__ == "__main__":
    sys.exit(_run())
