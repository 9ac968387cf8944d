"""Names and shapes of the published checkpoint, at full size, without allocating it."""

import torch
from cases import GOLDEN, PREFIX, body_standin

from smplest_x import SMPLestX, SMPLestXConfig


def published() -> dict[str, tuple[tuple[int, ...], str]]:
    table = {}
    for line in (GOLDEN / "smplest_x.tsv").read_text().splitlines():
        key, shape, dtype = line.split("\t")
        table[key] = (tuple(map(int, shape.split(","))), dtype)
    return table


def test_every_key_shape_and_type_of_the_published_model() -> None:
    """The body layer's buffers, which the published checkpoint leaves out, have a table of their own."""
    with torch.device("meta"):
        model = SMPLestX(SMPLestXConfig.official(), body_standin())
    state = torch.nn.DataParallel(model).state_dict()
    assert all(value.is_meta for value in state.values())
    own = {
        key: (tuple(value.shape), str(value.dtype).removeprefix("torch."))
        for key, value in state.items()
        if not key.startswith(f"{PREFIX}smplx_layer.")
    }
    wanted = published()
    assert len(wanted) == 519
    assert own == wanted


def test_sizes_in_parameters() -> None:
    with torch.device("meta"):
        model = SMPLestX(SMPLestXConfig.official(), body_standin())
    counts = [sum(p.numel() for p in part.parameters()) for part in (model.encoder, model.decoder)]
    assert [round(count / 1e6, 1) for count in counts] == [631.0, 56.2]
    assert list(model.smplx_layer.parameters()) == []
