"""What holds for a HaMeR of any size."""

import pytest
import torch
from folder import FOLDER
from suites.hand_model import HandModelSuite

from hamer_tmu.model import HaMeRConfig
from shared_tmu.errors import ConfigError, InputError


class TestModel(HandModelSuite):
    folder = FOLDER


def test_other_tokens_are_refused() -> None:
    with pytest.raises(InputError, match=r"the head expects tokens \[B, N, 64\] .* found \[2, 32, 63\]"):
        FOLDER.case_model("small_grid").predict(torch.zeros(2, 32, 63))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder": {"context_dim": 64}}, "decoder's context_dim is 64, but the backbone has 1280"),
        ({"decoder": {"heads": 0}}, "decoder: heads must be from 1 to 65536, found 0"),
    ],
)
def test_impossible_decoders_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HaMeRConfig.from_dict(change)
