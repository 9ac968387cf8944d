"""MANO models: reading without executing, the layer against recorded outputs, and the mirrored hand."""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import smplx
import torch
from safetensors.torch import load_file
from smplx.utils import Struct
from standins import FOLDER, PICKLE

from shared_tmu.body_models import ManoModel, load_mano, load_mean_params
from shared_tmu.body_models.array_pickle import read_array_pickle
from shared_tmu.body_models.mano import FINGERTIPS
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.errors import BodyModelError
from shared_tmu.pictures.geometry import mirror_axis_angle, mirror_points, mirror_rotmat

RODRIGUES = 1e-8  # metres; smplx adds 1e-8 to each component of an axis-angle vector, mirrored or not
WANTED = load_file(FOLDER / "mano_outputs.safetensors")


def smplx_hand(model: ManoModel, **options: Any) -> smplx.MANO:
    arguments = {"use_pca": False, "flat_hand_mean": True, "create_body_pose": False, "dtype": torch.float64}
    return smplx.MANO(
        "", data_struct=Struct(**model.to_dict()), is_rhand=model.side == "right", **(arguments | options)
    )


def test_official_layout_is_read(standin: ManoModel) -> None:
    raw = read_array_pickle(PICKLE)
    assert standin.shapedirs.shape == (778, 3, 10)
    assert raw["J_regressor"].shape == (16, 778)
    assert np.allclose(standin.weights.sum(1), 1)
    assert np.allclose(standin.J_regressor.sum(1), 1)
    assert standin.parents.tolist() == [-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]
    assert standin.kintree_table[0, 0] == 2**32 - 1
    assert raw["f"].dtype == np.uint32
    assert raw["bs_style"] == "lbs"


def test_layer_gives_recorded_vertices_and_key_points(standin: ManoModel) -> None:
    out = ManoLayer(standin)(WANTED["global_orient"], WANTED["hand_pose"], WANTED["betas"])
    assert (out.vertices - WANTED["vertices"]).abs().max() < 1e-6
    assert (out.keypoints - WANTED["keypoints21"]).abs().max() < 1e-6
    identity = torch.eye(3).expand(1, 16, 3, 3)
    rest = ManoLayer(standin)(identity[:, :1], identity[:, 1:], torch.zeros(1, 10))
    assert (rest.vertices - WANTED["rest_vertices"]).abs().max() < 1e-6
    assert (rest.keypoints - WANTED["rest_keypoints21"]).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("name", "pose", "options"),
    [
        ("aa_flat", "aa_hand_pose", {}),
        ("aa_mean", "aa_hand_pose", {"flat_hand_mean": False}),
        ("pca12_mean", "pca12_coeffs", {"use_pca": True, "num_pca_comps": 12, "flat_hand_mean": False}),
    ],
)
def test_unmodified_smplx_reads_the_arrays(
    standin: ManoModel, name: str, pose: str, options: dict[str, Any]
) -> None:
    hand = smplx_hand(standin, **options)
    inputs = {"betas": "betas", "global_orient": "aa_global_orient", "hand_pose": pose}
    out = hand(**{key: WANTED[value].double() for key, value in inputs.items()})
    assert (out.vertices - WANTED[f"{name}_vertices"]).abs().max() < 1e-6
    assert (out.joints - WANTED[f"{name}_joints16"]).abs().max() < 1e-6


@pytest.mark.parametrize("source", [PICKLE, None], ids=["stand-in", "SynthHand"])
def test_mirrored_parameters_give_mirrored_vertices(source: Path | None) -> None:
    right = load_mano(source)
    left = right.mirrored()
    assert (right.side, left.side) == ("right", "left")
    generator = torch.Generator().manual_seed(3)
    pose = 0.7 * torch.randn(4, 45, generator=generator, dtype=torch.float64)
    root = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    betas = torch.randn(4, 10, generator=generator, dtype=torch.float64)
    one = smplx_hand(right)(betas=betas, global_orient=root, hand_pose=pose)
    other = smplx_hand(left)(
        betas=betas,
        global_orient=mirror_axis_angle(root),
        hand_pose=mirror_axis_angle(pose.view(4, 15, 3)).flatten(1),
    )
    assert (mirror_points(one.vertices) - other.vertices).abs().max() < RODRIGUES
    assert (mirror_points(one.joints) - other.joints).abs().max() < RODRIGUES


def test_mirrored_layer_and_pca_agree(standin: ManoModel) -> None:
    left, root, fingers = standin.mirrored(), WANTED["global_orient"].double(), WANTED["hand_pose"].double()
    one = ManoLayer(standin).double()(root, fingers, WANTED["betas"].double())
    other = ManoLayer(left).double()(mirror_rotmat(root), mirror_rotmat(fingers), WANTED["betas"].double())
    assert (mirror_points(one.keypoints) - other.keypoints).abs().max() < 1e-12
    options = {"use_pca": True, "num_pca_comps": 12, "flat_hand_mean": False}
    coefficients = {"betas": WANTED["betas"].double(), "hand_pose": WANTED["pca12_coeffs"].double()}
    root = WANTED["aa_global_orient"].double()
    right_hand = smplx_hand(standin, **options)(global_orient=root, **coefficients)
    left_hand = smplx_hand(left, **options)(global_orient=mirror_axis_angle(root), **coefficients)
    assert (mirror_points(right_hand.vertices) - left_hand.vertices).abs().max() < RODRIGUES


def test_mirroring_keeps_faces_outward_and_undoes_itself(standin: ManoModel) -> None:
    def volume(model: ManoModel) -> float:
        a, b, c = model.v_template[model.faces].transpose(1, 0, 2)
        return float((a * np.cross(b, c)).sum() / 6)

    left = standin.mirrored()
    assert volume(left) == pytest.approx(volume(standin))
    for name, value in left.mirrored().to_dict().items():
        assert np.array_equal(value, standin.to_dict()[name]) or name == "f"
    assert np.array_equal(left.mirrored().faces, standin.faces)


def test_npz_round_trip_and_sides(standin: ManoModel, tmp_path: Path) -> None:
    np.savez(tmp_path / "MANO_LEFT.npz", **standin.mirrored().to_dict())
    left = load_mano(tmp_path / "MANO_LEFT.npz")
    assert left.side == "left"
    assert np.array_equal(left.mirrored().shapedirs, standin.shapedirs)
    right = load_mano(tmp_path / "MANO_LEFT.npz", side="right")
    assert right.side == "right"
    assert np.array_equal(right.posedirs, standin.posedirs)
    (tmp_path / "MANO_RIGHT.pkl").write_bytes(PICKLE.read_bytes())
    assert load_mano(tmp_path).side == "right"
    assert np.array_equal(load_mano(tmp_path, side="left").v_template, standin.mirrored().v_template)


def test_bundled_hand_and_its_mirror_load() -> None:
    right, left = load_mano(), load_mano(side="left")
    assert (right.side, left.side) == ("right", "left")
    assert np.array_equal(left.v_template[:, 0], -right.v_template[:, 0])
    tips = right.v_template[list(FINGERTIPS)]
    joints = right.J_regressor @ right.v_template
    lengths = np.linalg.norm(tips - joints[0], axis=1)
    assert (lengths > 0.08).all()  # metres from the wrist: thumb and fingers alike
    assert lengths.argmax() == 2  # the middle finger is the longest


def test_bundled_mean_parameters_are_a_pose() -> None:
    mean = load_mean_params()
    assert (mean.pose.shape, mean.shape.shape, mean.cam.shape) == ((96,), (10,), (3,))
    assert np.isfinite(mean.pose).all()
    assert mean.cam[0] > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_layer_stays_wide_in_a_half_precision_model(standin: ManoModel, dtype: torch.dtype) -> None:
    model = torch.nn.ModuleDict({"mano": ManoLayer(standin), "head": torch.nn.Linear(2, 2)}).to(dtype)
    assert model["head"].weight.dtype == dtype
    assert model["mano"].v_template.dtype == torch.float32
    inputs = (WANTED[name].to(dtype) for name in ("global_orient", "hand_pose", "betas"))
    out = model["mano"](*inputs)
    assert out.vertices.dtype == torch.float32
    assert model.double()["mano"].v_template.dtype == torch.float64


def test_autocast_does_not_blur_the_layer(standin: ManoModel) -> None:
    layer, inputs = ManoLayer(standin), [WANTED[n] for n in ("global_orient", "hand_pose", "betas")]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(*inputs)
    assert torch.equal(out.vertices, layer(*inputs).vertices)


def test_layer_copies_pickles_and_takes_over_another_hand(standin: ManoModel) -> None:
    import copy

    layer = ManoLayer(load_mano())
    layer.load_state_dict(ManoLayer(standin).state_dict())
    assert np.array_equal(layer.faces, standin.faces)
    again = pickle.loads(pickle.dumps(copy.deepcopy(layer)))
    assert torch.equal(again.v_template, layer.v_template)


def test_building_the_layer_prints_nothing(standin: ManoModel, capsys: pytest.CaptureFixture[str]) -> None:
    ManoLayer(standin)
    assert capsys.readouterr() == ("", "")


class Malicious:
    """Would create a file when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"v_template": x}, lambda x: {"f": [x]}])
def test_code_in_a_pickle_is_refused_by_name(
    wrap: Callable[[Any], Any], protocol: int, tmp_path: Path
) -> None:
    path, target = tmp_path / "MANO_RIGHT.pkl", tmp_path / "executed"
    path.write_bytes(pickle.dumps(wrap(Malicious(target)), protocol))
    with pytest.raises(BodyModelError, match=r"refers to '(posix|nt)\.mkdir'"):
        load_mano(path)
    assert not target.exists()


@pytest.mark.parametrize(
    "name",
    [
        "builtins.eval",
        "numpy.load",
        "numpy.core.multiarray.fromfile",
        "chumpy.ch.Ch.evil",
        "scipy.sparse.load_npz",
    ],
)
def test_other_names_of_allowed_packages_are_refused_too(name: str, tmp_path: Path) -> None:
    module, _, attribute = name.rpartition(".")
    path = tmp_path / "hand.pkl"
    path.write_bytes(f"c{module}\n{attribute}\n.".encode())
    with pytest.raises(BodyModelError, match=f"refers to '{name}'"):
        load_mano(path)


def damaged(standin: ManoModel, change: Callable[[dict[str, Any]], Any]) -> bytes:
    arrays = dict(standin.to_dict())
    change(arrays)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("weights"), "has no 'weights'"),
        (lambda a: a.update(v_template=a["v_template"][:700]), r"'v_template' has shape \(700, 3\)"),
        (lambda a: a.update(weights=a["weights"] * np.nan), "'weights' holds NaN"),
        (lambda a: a.update(f=a["f"] + 700), "outside 0..777"),
        (lambda a: a.update(kintree_table=np.zeros((2, 16), int)), "joint parents"),
        (lambda a: a.update(posedirs=np.array("text")), "not an array of numbers"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    standin: ManoModel, change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "hand.npz"
    path.write_bytes(damaged(standin, change))
    with pytest.raises(BodyModelError, match=message):
        load_mano(path)


@pytest.mark.parametrize(
    "content", [b"", b"not a pickle", b"\x80\x02}q\x00.", b"\x80\x02K\x01.", PICKLE.read_bytes()[:5000]]
)
@pytest.mark.parametrize("suffix", [".pkl", ".npz"])
def test_damaged_files_are_refused(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"hand{suffix}"
    path.write_bytes(content)
    with pytest.raises(BodyModelError, match="hand"):
        load_mano(path)
