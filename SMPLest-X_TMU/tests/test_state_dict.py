"""Names and shapes of the published checkpoint."""

import torch
from folder import FOLDER
from suites.golden import StateDictSuite


class TestStateDict(StateDictSuite):
    folder = FOLDER


def test_sizes_in_parameters() -> None:
    with torch.device("meta"):
        model = FOLDER.build(FOLDER.config.official(), FOLDER.standin())
    counts = [sum(p.numel() for p in part.parameters()) for part in (model.encoder, model.decoder)]
    assert [round(count / 1e6, 1) for count in counts] == [631.0, 56.2]
    assert list(model.smplx_layer.parameters()) == []
