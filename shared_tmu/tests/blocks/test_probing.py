"""Trying a block out changes nothing in it: no buffers, no attributes, no lists."""

from __future__ import annotations

import torch
from torch import nn
from toy_vit import ToyMlp, ToyViT

from shared_tmu import patch
from shared_tmu.blocks.probing import leaving_no_trace


class Observer(nn.Module):
    """Writes into what it holds, as observers of quantisation do."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("largest", torch.zeros(()))
        self.calls = torch.zeros((), dtype=torch.int64)
        self.seen: list[int] = []
        self.kept = {"sum": torch.zeros(())}

    def forward(self, x):
        self.largest.copy_(torch.maximum(self.largest, x.abs().max()))
        self.calls += 1
        self.seen.append(x.shape[1])
        self.kept["sum"].add_(x.sum())
        return self.layer(x)


def test_what_a_part_writes_into_is_as_before():
    vit = ToyViT(depth=2).eval()
    for block in vit.blocks:
        block.mlp = Observer(ToyMlp(32, 64))
    observer = vit.blocks[1].mlp
    held = observer.largest, observer.calls, observer.seen, observer.kept, observer.kept["sum"]
    versions = [tensor._version for tensor in held if isinstance(tensor, torch.Tensor)]
    patch(vit, "3x2", num_prefix_tokens=0).remove()
    now = observer.largest, observer.calls, observer.seen, observer.kept, observer.kept["sum"]
    assert all(a is b for a, b in zip(held, now, strict=True))
    assert [tensor._version for tensor in now if isinstance(tensor, torch.Tensor)] == versions
    assert (observer.largest, observer.calls, observer.seen) == (0, 0, [])


def test_a_tensor_in_two_places_is_one_inside_too():
    part = Observer(nn.Identity())
    part.calls = part.largest
    with leaving_no_trace(part):
        part(torch.ones(1, 2, 3))
        assert part.calls is part.largest
        assert part.calls == 2
    assert part.calls is part.largest
    assert part.calls == 0
