"""Parts of blocks with other names are timed, too."""

from __future__ import annotations

import torch
from torchvision_block import SwagViT

from shared_tmu import patch
from shared_tmu.bench.part_timer import PartClock


def test_blocks_around_multihead_attention_are_timed():
    vit, clock = SwagViT().eval(), PartClock(torch.device("cpu"))
    images = torch.randn(1, 3, 24, 24)
    with torch.no_grad(), clock.watching(vit, []):
        want = vit(images)
    assert {"attention", "MLP"} <= clock.seconds.keys()
    merged = PartClock(torch.device("cpu"))
    with torch.no_grad(), patch(vit, "6x3"), merged.watching(vit, []):
        vit(images)
    assert {"attention", "MLP", "matching", "merging", "unmerging"} <= merged.seconds.keys()
    with torch.no_grad():
        assert torch.equal(vit(images), want)
