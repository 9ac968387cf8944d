"""What CONTRIBUTING says of adding a method is true: its example is a method that works."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from toy_vit import ToyViT

from shared_tmu import Method, patch, run_trunk
from shared_tmu.places import Between
from shared_tmu.seen import Needs

TEXT = (Path(__file__).parents[3] / "CONTRIBUTING.md").read_text()


def read_example():
    """The row that CONTRIBUTING shows, made of the file that it shows."""
    chapter = TEXT.split("## Add a method")[1].split("\n## ")[0]
    names = {"__name__": "shared_tmu.methods.third", "__package__": "shared_tmu.methods"}
    exec(re.search(r"```python\n(.*?)```", chapter, re.DOTALL)[1], names)
    row = re.search(r"its row is `(Method\(.*?\))`", chapter)[1]
    return eval(row, {**names, "Method": Method, "Between": Between, "Needs": Needs})


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
