"""What the tests of every row of METHODS share."""

from __future__ import annotations

import pytest
import torch
from read_contributing import read_example
from torch import Tensor, nn

from shared_tmu import METHODS as LISTED
from shared_tmu import MergePlan, run_trunk
from shared_tmu.method_parts.reductions import Chain, Linear
from shared_tmu.methods import table

METHODS = table(*LISTED.values(), read_example())  # what CONTRIBUTING shows has to pass as well
EVERY = pytest.mark.parametrize("method", METHODS)


TOLERANCE = 2e-5


def schedule_for(method: str, r: int = 6, layers: int = 3) -> str:
    """A schedule of the kind that the method takes."""
    return "threshold:0.5" if METHODS[method].reads == "thresholds" else f"{r}x{layers}"


def options(method: str, patches: int, prefix: int = 0) -> dict[str, object]:
    """What the method needs to know beside the tokens; a grid with rows and columns where there is one."""
    rows = next(n for n in (4, 3, 2, 1) if patches % n == 0)
    grid = (patches // rows, rows) if patches else None
    return {"method": METHODS[method], "num_prefix_tokens": prefix, "grid": grid}


def run(vit: nn.Module, x: Tensor, schedule: str, method: str, prefix: int = 0, **more: object):
    """A trunk, its tokens and its route."""
    given_options = {**options(method, x.shape[1] - prefix, prefix), **more}
    if METHODS[method].learn is not None and "learned" not in given_options:
        torch.manual_seed(7)
        given_options["learned"] = METHODS[method].learn(list(vit.blocks)).to(x.dtype)
    return run_trunk(vit.blocks, x, schedule, **given_options)


def check(route: MergePlan | Chain, prefix: int) -> None:
    """Its maps are sound; prefix tokens stay first, alone, and nobody copies them."""
    parts = [route] if isinstance(route, MergePlan) else route.parts
    for part in parts:
        if isinstance(part, Linear):
            rows = part.matrix.double()
            unit = torch.eye(part.num_slots, dtype=torch.float64).expand_as(rows @ rows.mT)
            torch.testing.assert_close(rows @ rows.mT, unit, atol=1e-10, rtol=0)
            first = rows[..., :prefix, :prefix]
            assert torch.equal(first, torch.eye(prefix).double().expand_as(first))
            assert rows[..., :prefix, prefix:].eq(0).all()
            assert rows[..., prefix:, :prefix].eq(0).all()
            continue
        part.check()
        assert torch.equal(part.source_map[:, :prefix], torch.arange(prefix).expand(part.batch_size, -1))
        assert part.sizes()[:, :prefix].eq(1).all()
        assert (part.copy_map[:, prefix:] >= prefix).all()
