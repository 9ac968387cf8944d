"""The stacked Muon is torch's Muon, bit for bit, and continues its state."""

from copy import deepcopy

import pytest
import torch

from shared_tmu.training.muon import StackedMuon

SHAPES = [(8, 8)] * 3 + [(24, 8)] * 2 + [(8, 32), (1, 5), (5, 1)]


def matrices() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def give_gradients(step: int, *sets: list[torch.nn.Parameter], without: int | None = None) -> None:
    generator = torch.Generator().manual_seed(step)
    for i, ones in enumerate(zip(*sets, strict=True)):
        gradient = torch.randn(ones[0].shape, generator=generator)
        for one in ones:
            one.grad = None if i == without else gradient.clone()


@pytest.mark.parametrize("without", [None, 1])
def test_it_steps_like_torch_and_goes_on_from_its_state(without):
    theirs, mine = matrices(), matrices()
    plain = torch.optim.Muon(theirs, 0.01, 0.02, adjust_lr_fn="match_rms_adamw")
    stacked = StackedMuon(mine, 0.01, 0.02)
    for step in range(4):
        give_gradients(step, theirs, mine, without=without)
        plain.step()
        stacked.step()
        if step == 1:
            stacked.load_state_dict(deepcopy(plain.state_dict()))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_closure_gives_the_loss():
    ones = matrices()
    assert StackedMuon(ones, 0.01, 0.0).step(lambda: 3.0) == 3.0
