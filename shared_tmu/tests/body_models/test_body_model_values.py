"""Body-model files that are read in time, whose values make sense, with anything beside what is needed."""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared_tmu.body_models import mano
from shared_tmu.body_models.mano import ManoModel, load_mano
from shared_tmu.body_models.smplx_model import SYNTHBODY
from shared_tmu.errors import BodyModelError

ARRAYS = load_mano().to_dict()


def changed(name: str, value: Any) -> dict[str, Any]:
    return {**ARRAYS, name: value}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("v_template", ARRAYS["v_template"] * 1000, "is in metres. If these are millimetres"),
        ("v_template", ARRAYS["v_template"] * 1e300, "is in metres"),
        ("f", ARRAYS["f"] + 0.5, "'f' holds fractions"),
        ("kintree_table", ARRAYS["kintree_table"].astype(float) + 0.25, "'kintree_table' holds fractions"),
    ],
)
def test_values_that_no_hand_has(name: str, value: Any, message: str) -> None:
    with pytest.raises(BodyModelError, match=message):
        ManoModel.from_dict(changed(name, value))


def test_whole_numbers_may_be_stored_as_others() -> None:
    faces = ManoModel.from_dict(changed("f", ARRAYS["f"].astype(float))).faces
    assert np.array_equal(faces, ARRAYS["f"])


@pytest.mark.parametrize("suffix", ["pkl", "npz"])
def test_objects_beside_what_is_needed_are_left_alone(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"MANO_RIGHT.{suffix}"
    content = changed("names", np.array(["thumb", None], dtype=object))
    if suffix == "npz":
        np.savez(path, **content)
    else:
        path.write_bytes(pickle.dumps(content, 2))
    assert np.array_equal(load_mano(path).weights, ARRAYS["weights"])


@pytest.mark.parametrize(
    "content",
    [b"(" * 3_000_000, b"N" * 3_000_000, b"\x80\x02](" + b"X\0\0\0\0" * 3_000_000 + b"e."],
    ids=["marks", "nothings", "texts"],
)
def test_pickles_of_millions_of_steps_end(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared_tmu.files.pickles._Counted.left", 20_000)  # of the same kind, in less time
    (tmp_path / "m.pkl").write_bytes(content)
    with pytest.raises(BodyModelError, match=r"takes more than .* steps"):
        load_mano(tmp_path / "m.pkl")


def test_arrays_far_larger_than_a_hand_are_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 10_000_001
    monkeypatch.setattr(mano, "MAX_FILE_BYTES", size)
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size},), }}".ljust(117).encode() + b"\n"
    with zipfile.ZipFile(tmp_path / "m.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("f.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header + bytes(size))
    with pytest.raises(BodyModelError, match="take 10000129 bytes, more than the limit of 10000001"):
        load_mano(tmp_path / "m.npz")


def test_a_whole_body_is_told_by_its_shapes() -> None:
    with pytest.raises(BodyModelError, match="a MANO hand model has"):
        load_mano(SYNTHBODY)


def test_a_picture_is_no_pickle(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(b"\xff\xd8\xff\xe0 and so on")
    with pytest.raises(BodyModelError, match="byte 0xff is not a step of a pickle"):
        load_mano(tmp_path / "m.pkl")
