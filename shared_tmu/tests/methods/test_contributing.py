"""What CONTRIBUTING says of adding a method is true: its example does what the text says.

`test_methods` runs it through the tests of every row.
"""

from __future__ import annotations

import torch
from read_contributing import read_example
from toy_vit import ToyViT

from shared_tmu import patch, run_trunk


@torch.no_grad()
def test_the_example():
    row, vit, x = read_example(), ToyViT(depth=3).eval(), torch.randn(2, 4 + 40, 32)
    full, plan = run_trunk(vit.blocks, x, "9x3", method=row, num_prefix_tokens=4)
    plan.check()
    assert plan.num_slots == 4 + 13
    assert full.shape == x.shape
    assert torch.equal(plan.source_map[:, :4], torch.arange(4).expand(2, -1))
    mask = torch.zeros(2, 44, dtype=torch.bool)
    mask[:, 10:14] = True
    _, plan = run_trunk(vit.blocks, x, "9x2", method=row, num_prefix_tokens=4, mask=mask)
    assert plan.sizes().gather(1, plan.source_map)[mask].eq(1).all()
    with patch(vit, "200x3", row, num_prefix_tokens=4):
        assert vit(x).shape == x.shape
    assert run_trunk(vit.blocks, x[:, :6], "5", method=row, num_prefix_tokens=4)[1].num_slots == 6
