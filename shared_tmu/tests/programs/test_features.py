"""What a temporal decoder reads of a model: the first tokens of a module's output, pass by pass."""

import pytest
import torch
from torch import nn

from shared_tmu.programs.features import FrameFeature


class Tokens(nn.Module):
    def forward(self, x):
        return torch.stack((x, 2 * x, 3 * x), dim=1)  # [B, 3, C]


def test_features_of_every_pass_until_the_block_ends():
    model = nn.Sequential(Tokens(), nn.Flatten())
    x = torch.arange(8.0).reshape(2, 4)
    with FrameFeature("0", tokens=2).captured(model) as found:
        model(x)
        model(x[:1])
    model(x)
    assert [one.shape for one in found] == [(2, 8), (1, 8)]
    torch.testing.assert_close(found[0], torch.cat((x, 2 * x), dim=1))


def test_the_hook_is_removed_after_an_error():
    model = nn.Sequential(Tokens())
    with pytest.raises(ZeroDivisionError), FrameFeature("0").captured(model):
        raise ZeroDivisionError
    assert not model[0]._forward_hooks
