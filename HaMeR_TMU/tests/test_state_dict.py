"""Names and shapes of the published checkpoint, at full size, without allocating it."""

import torch
from cases import GOLDEN, case_config, mano_standin

from hamer import HaMeR, HaMeRConfig


def published() -> dict[str, tuple[tuple[int, ...], str]]:
    table = {}
    for line in (GOLDEN / "hamer.tsv").read_text().splitlines():
        key, shape, dtype = line.split("\t")
        table[key] = (() if shape == "scalar" else tuple(map(int, shape.split(","))), dtype)
    return table


def described(model: HaMeR) -> dict[str, tuple[tuple[int, ...], str]]:
    state = model.state_dict()
    return {
        key: (tuple(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in state.items()
    }


def test_every_key_shape_and_type_of_the_published_model() -> None:
    with torch.device("meta"):
        model = HaMeR(HaMeRConfig(with_discriminator=True), mano_standin())
    wanted = published()
    assert len(wanted) == 563
    assert described(model) == wanted
    assert all(value.is_meta for value in model.state_dict().values())


def test_the_discriminator_is_optional() -> None:
    with torch.device("meta"):
        model = HaMeR(HaMeRConfig.official(), mano_standin())
    wanted = {key: value for key, value in published().items() if not key.startswith("discriminator.")}
    assert described(model) == wanted


def test_buffers_that_are_indices() -> None:
    state = HaMeR(case_config("small_grid"), mano_standin()).state_dict()
    assert state["mano.extra_joints_idxs"].tolist() == [744, 320, 443, 554, 671]
    order = "0 13 14 15 16 1 2 3 17 4 5 6 18 10 11 12 19 7 8 9 20"
    assert state["mano.joint_map"].tolist() == [int(joint) for joint in order.split()]
    assert state["mano.parents"].tolist() == [-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]
