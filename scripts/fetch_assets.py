"""Put licensed files that you downloaded into data/, where demo.py and eval.py look for them.

Nothing is downloaded here: most of these files are behind a licence that only you can accept. For each asset
this program says what the licence allows, where to register and which file to take. Give it that file (or the
archive, or a folder that holds it) with --from: it checks the SHA-256 where that is known and places what is
needed. The standard library is enough, so it runs before anything is installed.

    python scripts/fetch_assets.py                                     what there is, and what you have
    python scripts/fetch_assets.py mano                                licence, address, the next command
    python scripts/fetch_assets.py mano --from ~/Downloads/mano_v1_2.zip
"""

import argparse
import hashlib
import lzma
import os
import re
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from shared_tmu.programs.console import run_program

REPOSITORY = Path(__file__).resolve().parents[1]
CHUNK_BYTES = 1 << 20
MIN_UNPACKED_BYTES = 1 << 28
MAX_RATIO = 50  # times an archive's size; body models and pictures compress by less than ten


class AssetError(Exception):
    """The given file is not what the asset needs; the message says what would be."""


@dataclass(frozen=True)
class AssetPart:
    """One kind of file: `count` files whose path ends in `pattern`, kept below `folder` in data/."""

    name: str
    folder: str
    pattern: str
    sha256: str | None = None
    count: int = 1

    def match(self, path: str) -> str | None:
        """Return the place under data/ of the file at `path` (with `/`), or None if it is not this part."""
        found = re.search(rf"(?:^|/)({self.pattern})$", path)
        return f"{self.folder}/{found[1]}" if found else None

    def present(self, data: Path) -> list[Path]:
        """Return the files of this part that lie under `data`."""
        folder = data / self.folder
        return [
            path
            for path in folder.rglob("*")
            if re.fullmatch(self.pattern, path.relative_to(folder).as_posix()) and path.is_file()
        ]


@dataclass(frozen=True)
class Asset:
    """A set of files from one place under one licence."""

    title: str
    licence: str
    where: str
    parts: tuple[AssetPart, ...]
    use: str


MANO = Asset(
    title="MANO, the official right-hand model (version 1.2)",
    licence="MANO licence: non-commercial research, education and art; no redistribution",
    where="register at https://mano.is.tue.mpg.de, download 'Models & Code' (mano_v1_2.zip)",
    parts=(
        AssetPart(
            "MANO_RIGHT.pkl",
            "mano",
            r"MANO_RIGHT\.pkl",
            "45d60aa3b27ef9107a7afd4e00808f307fd91111e1cfa35afd5c4a62de264767",
        ),
    ),
    use="official checkpoints need it; it is read without executing pickle code",
)
HAMER = Asset(
    title="HaMeR, the official checkpoint",
    licence="the code is MIT; using the weights needs MANO, whose licence is non-commercial",
    where="https://github.com/geopavlakos/hamer: its fetch_demo_data.sh (hamer_demo_data.tar.gz, 6 GB)",
    parts=(
        AssetPart(
            "hamer.ckpt",
            "hamer_ckpts/checkpoints",
            r"hamer\.ckpt",
            "e5cc06f294d88a92dee24e603480aab04de532b49f0e08200804ee7d90e16f53",
        ),
        AssetPart("model_config.yaml", "hamer_ckpts", r"model_config\.yaml"),
    ),
    use="demo.py --checkpoint data/hamer_ckpts/checkpoints/hamer.ckpt --mano_path data/mano/MANO_RIGHT.pkl",
)
WILOR = Asset(
    title="WiLoR, the official checkpoint",
    licence="CC BY-NC-ND 4.0; using the weights needs MANO, whose licence is non-commercial",
    where="https://github.com/rolpotamias/WiLoR names them in its README: wilor_final.ckpt (about 2.5 "
    "GB) and, in its folder pretrained_models, model_config.yaml",
    parts=(
        AssetPart("wilor_final.ckpt", "wilor", r"wilor_final\.ckpt"),
        AssetPart("model_config.yaml", "wilor", r"model_config\.yaml"),
    ),
    use="WiLoR's demo.py --checkpoint data/wilor/wilor_final.ckpt --mano_path data/mano/MANO_RIGHT.pkl",
)
FREIHAND = Asset(
    title="FreiHAND v2, evaluation split",
    licence="research use only",
    where="https://lmb.informatik.uni-freiburg.de/projects/freihand (FreiHAND_pub_v2_eval.zip, 0.7 GB)",
    parts=(
        AssetPart("evaluation/rgb/*.jpg", "freihand", r"evaluation/rgb/\d{8}\.jpg", count=3960),
        AssetPart("evaluation_*.json", "freihand", r"evaluation_(?:K|scale|xyz|verts|mano)\.json", count=5),
    ),
    use="eval.py --dataset freihand",
)
YOLO = Asset(
    title="WiLoR's hand detector (YOLO)",
    licence="CC BY-NC-ND 4.0; the ultralytics package that runs it is AGPL-3.0",
    where="https://github.com/rolpotamias/WiLoR: detector.pt",
    parts=(
        AssetPart(
            "detector.pt",
            "detectors",
            r"detector\.pt",
            "5ef3df44e42d2db52d4ffe91f83a22ce9925e2acc9abebf453f2c5d22e380033",
        ),
    ),
    use="demo.py --detector yolo, after pip install ultralytics",
)
VITDET = Asset(
    title="the published demo's detectors: ViTDet, then ViTPose",
    licence="Apache-2.0 (code); the weights carry the terms of the data they were trained on",
    where="model_final_f05665.pkl: https://github.com/facebookresearch/detectron2 (ViTDet-H Cascade); "
    "wholebody.pth: in hamer_demo_data.tar.gz; its .py: https://github.com/ViTAE-Transformer/ViTPose",
    parts=(
        AssetPart("model_final_f05665.pkl", "detectors", r"model_final_f05665\.pkl"),
        AssetPart("wholebody.pth", "detectors", r"wholebody\.pth"),
        AssetPart("ViTPose_huge_wholebody_256x192.py", "detectors", r"ViTPose_huge_wholebody_256x192\.py"),
    ),
    use="demo.py --detector vitdet, after installing detectron2 and mmpose; give the files one by one",
)
SMPLX = Asset(
    title="SMPL-X, the official neutral body model",
    licence="SMPL-X licence: non-commercial research, education and art; no redistribution",
    where="register at https://smpl-x.is.tue.mpg.de, download the NPZ+PKL models (models_smplx_v1_1.zip)",
    parts=(AssetPart("SMPLX_NEUTRAL.npz", "smplx", r"SMPLX_NEUTRAL\.npz"),),
    use="the official SMPLest-X needs it; it is read without executing pickle code",
)
SMPLEST_X = Asset(
    title="SMPLest-X-H, the official checkpoint",
    licence="S-Lab licence: non-commercial; it predicts SMPL-X, whose licence is non-commercial too",
    where="https://github.com/SMPLCap/SMPLest-X names it in its README: smplest_x_h.pth.tar (8 GB)",
    parts=(AssetPart("smplest_x_h.pth.tar", "smplest_x", r"smplest_x_h\.pth\.tar"),),
    use="demo.py --checkpoint data/smplest_x/smplest_x_h.pth.tar --smplx_path data/smplx/SMPLX_NEUTRAL.npz",
)
EHF = Asset(
    title="EHF, and the regressors and vertex lists of its evaluation",
    licence="SMPL-X licence: non-commercial research, education and art; no redistribution",
    where="register at https://smpl-x.is.tue.mpg.de: EHF, 'MANO and FLAME vertex indices', and the 14-joint "
    "regressor of its tools; EHF.json (boxes, optional) is by Hand4Whole's author",
    parts=(
        AssetPart("NN_img.jpg", "EHF", r"\d{2,3}_img\.jpg", count=100),
        AssetPart("NN_align.ply", "EHF", r"\d{2,3}_align\.ply", count=100),
        AssetPart("SMPLX_to_J14.pkl", "smplx", r"SMPLX_to_J14\.pkl"),
        AssetPart("MANO_SMPLX_vertex_ids.pkl", "smplx", r"MANO_SMPLX_vertex_ids\.pkl"),
        AssetPart("SMPL-X__FLAME_vertex_ids.npy", "smplx", r"SMPL-X__FLAME_vertex_ids\.npy"),
    ),
    use="eval.py --dataset ehf; give the archives and files one by one",
)
YOLO_PERSON = Asset(
    title="YOLOv8x, the person detector of the published SMPLest-X demo",
    licence="AGPL-3.0, like the ultralytics package that runs it",
    where="https://github.com/ultralytics/assets/releases: yolov8x.pt",
    parts=(AssetPart("yolov8x.pt", "detectors", r"yolov8x\.pt"),),
    use="SMPLest-X's demo.py --detector yolo, after pip install ultralytics",
)
ASSETS = {
    "mano": MANO,
    "hamer": HAMER,
    "wilor": WILOR,
    "freihand": FREIHAND,
    "yolo": YOLO,
    "vitdet": VITDET,
    "smplx": SMPLX,
    "smplest_x": SMPLEST_X,
    "ehf": EHF,
    "yolo_person": YOLO_PERSON,
}


@contextmanager
def open_checked(path: Path) -> Iterator[None]:
    """Turn the errors of a damaged, encrypted or unreadable archive into one sentence."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise AssetError(f"{shown(path)} is damaged ({error}). Download it again.") from error
    except NotImplementedError as error:
        raise AssetError(
            f"{shown(path)} is packed in a way that Python does not unpack ({error}): unpack it yourself and "
            "give the folder."
        ) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise AssetError(f"cannot copy from {shown(path)}: {reason}.") from error
    except (ValueError, RuntimeError, KeyError, IndexError, OverflowError) as error:
        raise AssetError(f"{shown(path)} cannot be read ({error}). Download it again.") from error


def shown(path: object) -> str:
    """A name as any terminal can show it, and not longer than a line."""
    text = str(path).encode(
        "ascii" if sys.stdout.encoding is None else sys.stdout.encoding, "backslashreplace"
    )
    name = text.decode(errors="replace")
    return name if len(name) <= 160 else f"{name[:80]}...{name[-60:]}"


def members(source: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield path and open file of what is wanted in `source`: a file, a folder, a .zip or a .tar(.gz).

    Raises:
        AssetError: `source` is none of these, or something that is wanted is a link, encrypted or so large
            that the archive cannot hold it.
    """
    try:
        kind, name = source.stat().st_mode, source.name.lower()
    except (FileNotFoundError, NotADirectoryError):
        raise AssetError(f"{shown(source)} does not exist.") from None
    if stat.S_ISDIR(kind):
        yield from _in_folder(source, wanted)
    elif not stat.S_ISREG(kind):
        raise AssetError(f"{shown(source)} is neither a file nor a folder.")
    elif name.endswith(".zip"):  # checkpoints are zip files too, under other names
        yield from _in_zip(source, wanted)
    elif name.endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")):
        yield from _in_tar(source, wanted)
    else:
        names = [path.as_posix() for path in (source.absolute(), source.resolve())]
        for given in [name for name in names if wanted(name)][:1]:
            with source.open("rb") as stream:
                yield given, stream


def _in_folder(source: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    def stop(error: OSError) -> None:
        raise error

    for folder, _, names in os.walk(source, onerror=stop):
        for name in sorted(names):
            path = Path(folder, name)
            inside = path.relative_to(source.parent).as_posix()
            if wanted(inside) and stat.S_ISREG(path.stat().st_mode):
                with path.open("rb") as stream:
                    yield inside, stream


def _in_zip(source: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            if info.is_dir() or not wanted(info.filename):
                continue
            if info.flag_bits & 1:
                raise AssetError(
                    f"{shown(info.filename)} in {shown(source)} is encrypted: unpack it with its password, "
                    "and give the folder."
                )
            if stat.S_ISLNK(info.external_attr >> 16):
                raise AssetError(
                    f"{shown(info.filename)} in {shown(source)} is a link, which is not followed."
                )
            _expect_possible(source, info.filename, info.file_size)
            with archive.open(info) as member:
                yield info.filename, member


def _in_tar(source: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(source, "r|*") as tar:
        for entry in tar:
            if entry.isdir() or not wanted(entry.name):
                continue
            if not entry.isfile() or entry.issparse():
                raise AssetError(
                    f"{shown(entry.name)} in {shown(source)} is a link, a sparse or a special file, which is "
                    "not followed: unpack it yourself and give the folder."
                )
            _expect_possible(source, entry.name, entry.size)
            yield entry.name, cast(IO[bytes], tar.extractfile(entry))


def _expect_possible(source: Path, name: str, size: int) -> None:
    """Refuse what would unpack to far more than an archive of this size can mean."""
    limit = max(MIN_UNPACKED_BYTES, MAX_RATIO * source.stat().st_size)
    if size > limit:
        raise AssetError(
            f"{shown(name)} in {shown(source)} would unpack to {size} bytes, more than {MAX_RATIO} times the "
            "archive: this is not the download."
        )


def copy_hashed(stream: IO[bytes], target: Path) -> str:
    """Copy to `target` and return the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    with target.open("wb") as out:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def place_one(path: str, stream: IO[bytes], part: AssetPart, target: Path, force: bool) -> None:
    """Copy one file to `target`, whole or not at all.

    Raises:
        AssetError: its checksum is not the known one, and `force` is off.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target) and not stat.S_ISREG(target.lstat().st_mode):
        raise AssetError(f"{shown(target)} is there already and no file: take it away.")
    unchecked = target.with_name(target.name + ".part")
    try:
        found = copy_hashed(stream, unchecked)
        if part.sha256 not in (None, found) and not force:
            raise AssetError(
                f"{shown(path)} has SHA-256 {found}, expected {part.sha256}: damaged, or another version. "
                "Download it again, or keep it with --force."
            )
        unchecked.replace(target)
    finally:
        unchecked.unlink(missing_ok=True)


def place(asset: Asset, source: Path, data: Path, force: bool = False) -> list[Path]:
    """Copy every part of `asset` found in `source` to its place under `data`.

    Raises:
        AssetError: `source` cannot be read or has none of the parts, or a part has another checksum.
    """
    placed: list[Path] = []
    with open_checked(source):
        for path, stream in members(source, lambda name: any(part.match(name) for part in asset.parts)):
            for part in asset.parts:
                where = part.match(path)
                if where is not None:
                    place_one(path, stream, part, data / where, force)
                    placed.append(data / where)
    missing = [part.name for part in asset.parts if not part.present(data)]
    if not placed:
        names = " or ".join(part.name for part in asset.parts)
        raise AssetError(f"there is no {names} in {shown(source)}; take it from: {asset.where}.")
    if missing:
        raise AssetError(f"{len(placed)} file(s) placed; not in {shown(source)}: {', '.join(missing)}.")
    return placed


def state_of(asset: Asset, data: Path, verify: bool) -> str:
    """Return 'missing', 'incomplete', 'present' or, with `verify`, 'damaged' for what lies under `data`."""
    counts = []
    for part in asset.parts:
        here = part.present(data)
        counts.append(len(here))
        if verify and part.sha256 and any(sha256_of(path) != part.sha256 for path in here):
            return "damaged"
    if not any(counts):
        return "missing"
    complete = all(count >= part.count for count, part in zip(counts, asset.parts, strict=True))
    return "present" if complete else "incomplete"


def describe(name: str, asset: Asset, data: Path) -> str:
    """Return the licence, the address and the next command for one asset."""
    return (
        f"{name}: {asset.title}\n"
        f"  state    {state_of(asset, data, verify=True)} in {data}\n"
        f"  licence  {asset.licence}\n"
        f"  where    {asset.where}\n"
        f"  then     python scripts/fetch_assets.py {name} --from <the downloaded file, archive or folder>\n"
        f"  use      {asset.use}\n"
    )


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("asset", nargs="?", choices=sorted(ASSETS), help="which asset; none: list them all")
    parser.add_argument("--from", dest="source", type=Path, help="the file, archive or folder you downloaded")
    parser.add_argument(
        "--data_dir", type=Path, default=REPOSITORY / "data", help="default: data/ of the repository"
    )
    parser.add_argument("--force", action="store_true", help="keep a file that has another checksum")
    args = parser.parse_args(argv)
    if args.source is not None and args.asset is None:
        parser.error("--from needs the name of the asset: " + ", ".join(sorted(ASSETS)))
    return args


def main(argv: list[str] | None = None) -> int:
    """List, describe or place; 0 on success, 1 with one sentence on standard error otherwise."""
    args = parse_arguments(argv)
    try:
        return _run(args)
    except AssetError as error:
        sys.stderr.write(f"error: {error}\n")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {shown(error)}.\n")
    return 1


def _run(args: argparse.Namespace) -> int:
    if args.asset is None:
        for name, asset in ASSETS.items():
            sys.stdout.write(f"{name:10} {state_of(asset, args.data_dir, verify=False):11} {asset.title}\n")
        return 0
    asset = ASSETS[args.asset]
    if args.source is None:
        sys.stdout.write(describe(args.asset, asset, args.data_dir))
        return 0
    placed = place(asset, args.source.expanduser(), args.data_dir, args.force)
    sys.stdout.write(f"{len(placed)} file(s) placed in {shown(args.data_dir)}\n")
    for part in asset.parts:
        checked = "no checksum known" if part.sha256 is None else "not checked" if args.force else "verified"
        sys.stdout.write(f"  {part.name}: {checked}\n")
    sys.stdout.write(f"licence: {asset.licence}\nuse: {asset.use}\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
