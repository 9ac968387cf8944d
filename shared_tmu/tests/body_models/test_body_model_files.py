"""Body-model files that are no body models: one sentence, at once, in little memory."""

import contextlib
import io
import os
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared_tmu.body_models import load_mano
from shared_tmu.body_models.array_pickle import read_array_pickle
from shared_tmu.body_models.smplx_model import load_smplx
from shared_tmu.errors import BodyModelError, MissingAssetError, TMUError

HUGE = 10**10


def call(name: str, *arguments: Any, state: Any = None) -> bytes:
    """A pickle of `{"f": module.name(*arguments)}`, with a state if there is one."""
    module, _, attribute = name.rpartition(".")
    packed = b"c%s\n%s\n" % (module.encode(), attribute.encode()) + pickle.dumps(arguments, 2)[2:-1] + b"R"
    if state is not None:
        packed += pickle.dumps(state, 2)[2:-1] + b"b"
    return b"\x80\x02}X\x01\x00\x00\x00f" + packed + b"s."


def twice(levels: int, leaf: bytes, pair: bytes) -> bytes:
    """A value of two times a value of two times ..., by reference: 2**levels leaves."""
    made = leaf
    for level in range(levels):
        made += b"r" + struct.pack("<I", level) + b"0" + pair.replace(b"@", b"j" + struct.pack("<I", level))
    return made


SPARSE = "scipy.sparse.csc.csc_matrix"
CHUMPY = "chumpy.ch.Ch"
EMPTY: dict[str, Any] = {"data": [], "indices": []}
BOMBS: dict[str, bytes] = {
    "memo": b"\x80\x02}r\xff\xff\xff\x1f.",
    "memo of 25 bytes": b"\x80\x02}X\x01\x00\x00\x00fNsr\xff\xff\xff\x3f" + b"0" * 5 + b".",
    "text": b"\x80\x02X\xff\xff\xff\x7fa.",
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", HUGE) + b"a.",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", HUGE) + b"a.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", HUGE) + b"a.",
    "long": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"a.",
    "bytearray of a number": call("builtins.bytearray", HUGE),
    "bytes of a number": call("numpy.core.numeric._frombuffer", HUGE, None, (1,), "C"),
    "sparse, wide": call(SPARSE, state=EMPTY | {"indptr": [0], "_shape": (0, HUGE)}),
    "sparse, high": call(SPARSE, state=EMPTY | {"indptr": [0], "_shape": (HUGE, 0)}),
    "sparse, both": call(SPARSE, state=EMPTY | {"indptr": [0] * 10, "_shape": (HUGE, 9)}),
    "sparse, repeated": call(
        SPARSE, state={"data": [1], "indices": [0], "indptr": [0, HUGE], "_shape": (1, 1)}
    ),
    "lists of lists": b"\x80\x02" + twice(40, b"]K\x01a", b"](@@e") + b".",
    "chumpy of lists": call(CHUMPY)[:-2] + b"}X\x01\x00\x00\x00x" + twice(40, b"]K\x01a", b"](@@e") + b"sbs.",
    "dictionaries": b"\x80\x02" + twice(40, b"}", b"}(U\x01a@U\x01b@u") + b".",
    "tuples as keys": b"\x80\x02}" + twice(60, b")", b"@@\x86") + b"K\x01s.",
    "tuples in a set": call("builtins.set")[:-2] + b"(" + twice(60, b")", b"@@\x86") + b"\x90s.",
    "type names": call("numpy.dtype", "f4," * 10**5),
    "encoded again and again": b"\x80\x02c_codecs\nencode\nr\x00\x00\x00\x000X"
    + struct.pack("<I", 10**5) + b"a" * 10**5 + b"r\x01\x00\x00\x000]"
    + b"j\x00\x00\x00\x00j\x01\x00\x00\x00\x85Ra" * 30_000 + b".",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_pickles_that_ask_for_more_than_they_hold(name: str, tmp_path: Path) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(BOMBS[name])
    start = time.monotonic()
    with pytest.raises(BodyModelError) as error:
        load_mano(path)
    assert time.monotonic() - start < 5
    assert len(str(error.value)) < 700


def npz_with(header: bytes, data: bytes = b"") -> bytes:
    """An archive with one array whose header is as given."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("f.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        npz_with(b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000,)}\n", b"12345678"),
        npz_with(b"{'descr': '<f8', 'fortran_order': False, 'shape': (0, 10000000000)}\n"),
        npz_with(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}\n", b"12345678"),
        npz_with(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n", b"12345678"),
        npz_with(b"{'descr': '<U100000000', 'fortran_order': False, 'shape': (9,)}\n", b"12345678"),
        npz_with(b"(" * 5000),
        npz_with(b"__import__('os').system('true')"),
        npz_with(b""),
    ],
)
def test_npz_headers_that_promise_what_is_not_there(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "hand.npz"
    path.write_bytes(content)
    with pytest.raises(BodyModelError, match="hand"):
        load_mano(path)


def test_archives_that_unpack_to_far_too_much_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "hand.npz"
    content = bytearray(npz_with(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}\n", b"12345678"))
    end = content.rfind(b"PK\x01\x02")
    claimed = content.copy()
    claimed[end + 24 : end + 28] = struct.pack("<I", 2**31)
    path.write_bytes(claimed)
    with pytest.raises(BodyModelError, match="take 2147483648 bytes, more than the limit of"):
        load_mano(path)
    for place, value in ((8, 1), (10, 99)):  # encrypted; an unknown method
        changed = content.copy()
        changed[end + place] = value
        path.write_bytes(changed)
        with pytest.raises(BodyModelError, match="hand"):
            load_mano(path)


def test_in_little_memory(tmp_path: Path) -> None:
    """All of them within a quarter of a gigabyte beyond what the interpreter has."""
    files = []
    for number, content in enumerate(BOMBS.values()):
        files.append(tmp_path / f"{number}.pkl")
        files[-1].write_bytes(content)
    code = (
        "import resource, sys; from shared_tmu.body_models import load_mano\n"
        "from shared_tmu.errors import BodyModelError\n"
        "used = int(open('/proc/self/statm').read().split()[5]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (used + 2**28, used + 2**28))\n"
        "for path in sys.argv[1:]:\n"
        "    try: load_mano(path)\n"
        "    except BodyModelError as error: print(len(str(error)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *files], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.split()) == len(files)


@pytest.mark.parametrize("load", [load_mano, load_smplx])
def test_places_that_are_no_files(load: Callable[[Path], Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pkl")
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    (tmp_path / "zero.pkl").symlink_to("/dev/zero")
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 9)
    for name in ("pipe.pkl", "loop.npz", "zero.pkl", "binary", "n" * 300):
        with pytest.raises(BodyModelError, match=name[:20]):
            load(tmp_path / name)
    for name in ("", "none.npz", "binary/x.pkl"):
        with pytest.raises(MissingAssetError, match=r"is not in .*\.tue\.mpg\.de"):
            load(tmp_path / name)


def test_every_truncation_and_many_flipped_bytes(tmp_path: Path) -> None:
    from scipy import sparse

    arrays = {
        "f": np.arange(6).reshape(2, 3),
        "J": sparse.csc_matrix(np.eye(3)),
        "n": np.float64(2),
        "s": "x",
    }
    npz = io.BytesIO()
    np.savez_compressed(npz, f=np.arange(6).reshape(2, 3), weights=np.eye(2))
    contents = {f"p{p}.pkl": pickle.dumps(arrays, p) for p in (0, 2, 5)} | {"x.npz": npz.getvalue()}
    for name, content in contents.items():
        path = tmp_path / name
        damaged = [content[:end] for end in range(0, len(content), 9)]
        for place in range(0, len(content), 13):
            damaged.append(content[:place] + bytes([content[place] ^ 0x21]) + content[place + 1 :])
        for data in damaged:
            path.write_bytes(data)
            with contextlib.suppress(TMUError):
                load_mano(path)


def test_what_is_shared_is_read_once(tmp_path: Path) -> None:
    array = np.arange(12.0)
    path = tmp_path / "shared.pkl"
    path.write_bytes(pickle.dumps({str(n): array for n in range(1000)}, 2))
    found = read_array_pickle(path)
    assert len(found) == 1000
    assert all(np.array_equal(value, array) for value in found.values())
    found["0"][0] = 5
    assert found["1"][0] == 0
