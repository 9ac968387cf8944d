"""`tmu.patch` on our WiLoR, and on a class that is built as the published one."""

import pytest
import torch
from folder import FOLDER
from published import PublishedWiLoR
from suites.published import PublishedSuite
from suites.tmu import PatchSuite
from torch import Tensor

from wilor_tmu import tmu


class TestPatch(PatchSuite):
    folder = FOLDER


class TestPublished(PublishedSuite):
    folder = FOLDER
    says_task_tokens = "cam_emb"

    def published(self) -> PublishedWiLoR:
        return PublishedWiLoR()


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    return {"img": torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(1))}


@pytest.mark.parametrize("published", [False, True], ids=["ours", "published"])
def test_merge_only_is_a_sparse_grid(batch, published):
    """The refinement gets its map: each slot stands once, where its first token was; the rest is zero."""
    torch.manual_seed(0)
    model = PublishedWiLoR() if published else FOLDER.tiny(depth=4)
    seen = []
    hook = model.backbone.last_norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad(), tmu.patch(model, "20x4", unmerge=False, record=True) as handle:
        model(batch)
        plan = handle.plan
    hook.remove()
    empty = (seen[0] == 0).all(-1)
    assert seen[0].shape[1] == 210
    assert empty.sum(1).tolist() == [80, 80]
    for image in range(2):
        slots = plan.source_map[image, ~empty[image]]
        assert sorted(slots.tolist()) == list(range(130))  # each slot once
