"""Files of hands that are damaged, missing or hostile."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shared_tmu.body_models import ManoModel, load_mano, load_mean_params
from shared_tmu.body_models.array_pickle import read_array_pickle
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.errors import BodyModelError, MissingAssetError


def test_npz_with_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "hand.npz", v_template=np.array([{}], dtype=object))
    with pytest.raises(BodyModelError, match="plain arrays"):
        load_mano(tmp_path / "hand.npz")


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingAssetError, match=r"MANO_RIGHT\.pkl is not in .*mano\.is\.tue\.mpg\.de"):
        load_mano(tmp_path)
    with pytest.raises(MissingAssetError, match=r"mean\.npz is not in"):
        load_mean_params(tmp_path / "mean.npz")


def pickled(value: Any, tmp_path: Path) -> Any:
    path = tmp_path / "arrays.pkl"
    path.write_bytes(pickle.dumps({"x": value}, protocol=2))
    return read_array_pickle(path)["x"]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f8", "u4", "i8", "b1"])
def test_arrays_come_back_as_they_were(dtype: str, order: Any, tmp_path: Path) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype, order=order)
    found = pickled(array, tmp_path)
    assert found.dtype == np.dtype(dtype)
    assert np.array_equal(found, array)


def test_sparse_matrices_and_scalars_come_back_dense(tmp_path: Path) -> None:
    from scipy import sparse

    dense = np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    for kind in (sparse.csc_matrix, sparse.csr_matrix):
        assert np.array_equal(pickled(kind(dense), tmp_path), dense)
    assert pickled(np.float64(2.5), tmp_path) == 2.5


def test_vertices_follow_the_state(standin: ManoModel) -> None:
    """Shape coefficients move vertices along `shapedirs`, in metres."""
    identity: Tensor = torch.eye(3).expand(1, 16, 3, 3)
    betas = torch.zeros(1, 10)
    betas[0, 3] = 2.0
    out = ManoLayer(standin)(identity[:, :1], identity[:, 1:], betas)
    wanted = standin.v_template + 2.0 * standin.shapedirs[..., 3]
    assert np.allclose(out.vertices[0].numpy(), wanted, atol=1e-6)


def test_the_side_of_a_file_without_it_in_its_name(tmp_path: Path) -> None:
    right, left = load_mano(), load_mano(side="left")
    for model in (right, left):
        path = tmp_path / f"MANO_{model.side[0].upper()}.npz"
        np.savez(path, **model.to_dict())
        assert load_mano(path).side == model.side
        assert np.array_equal(load_mano(path, side="right").v_template, right.v_template)


def test_a_file_named_as_the_other_hand_is_refused(tmp_path: Path) -> None:
    for name, hand in (("MANO_RIGHT", "left"), ("my_left_hand", "right")):
        path = tmp_path / f"{name}.npz"
        np.savez(path, **load_mano(side=hand).to_dict())  # type: ignore[arg-type]
        with pytest.raises(BodyModelError, match=rf"{name}\.npz is named as a .* where a {hand} hand has it"):
            load_mano(path)


def test_a_left_hand_with_the_right_hand_s_shapes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As the official MANO_LEFT.pkl is published."""
    right, left = load_mano(), load_mano(side="left")
    np.savez(tmp_path / "MANO_LEFT.npz", **{**left.to_dict(), "shapedirs": right.shapedirs})
    assert np.array_equal(load_mano(tmp_path / "MANO_LEFT.npz").shapedirs, left.shapedirs)
    assert "MANO_LEFT.npz has a right hand's shapedirs" in caplog.text
    assert np.array_equal(load_mano(tmp_path / "MANO_LEFT.npz", side="right").shapedirs, right.shapedirs)
    caplog.clear()
    np.savez(tmp_path / "MANO_LEFT.npz", **left.to_dict())
    assert np.array_equal(load_mano(tmp_path / "MANO_LEFT.npz").shapedirs, left.shapedirs)
    np.savez(tmp_path / "MANO_RIGHT.npz", **{**right.to_dict(), "shapedirs": left.shapedirs})
    assert np.array_equal(load_mano(tmp_path / "MANO_RIGHT.npz").shapedirs, left.shapedirs)
    assert caplog.text == ""
