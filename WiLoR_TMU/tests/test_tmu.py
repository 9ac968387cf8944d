"""`tmu.patch` on our WiLoR, and on a class that is built as the published one."""

import pytest
import torch
from folder import FOLDER
from published import PublishedModel, PublishedViT
from suites.tmu import PatchSuite
from torch import Tensor, nn

import tmu
from shared_tmu.errors import PatchError


class TestPatch(PatchSuite):
    hands = FOLDER


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    return {"img": torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(1))}


@pytest.mark.parametrize("wrap", [lambda model: model, nn.DataParallel], ids=["bare", "DataParallel"])
def test_the_published_class(batch, wrap):
    """A user's own checkout: the same call, and the task tokens found by themselves."""
    torch.manual_seed(0)
    model = wrap(PublishedModel(PublishedViT())).eval()
    with torch.no_grad():
        want = model(batch)
        with tmu.patch(model, "20x4", record=True) as handle:
            got = model(batch)
            assert [t.shape for t in got] == [t.shape for t in want]
            assert not torch.equal(got[0], want[0])
            assert handle.plan.num_slots == 18 + 112
            assert torch.equal(handle.plan.source_map[:, :18], torch.arange(18).expand(2, -1))
        assert all(torch.equal(a, b) for a, b in zip(model(batch), want, strict=True))


def test_a_vit_that_does_not_say(batch):
    torch.manual_seed(0)
    bare = PublishedViT()
    bare.camera_emb = bare.cam_emb
    del bare.cam_emb
    with pytest.raises(PatchError, match=r"does not say how many task tokens .* pass num_prefix_tokens"):
        tmu.patch(PublishedModel(bare), "20x4")
    with tmu.patch(PublishedModel(bare), "20x4", num_prefix_tokens=18) as handle:
        assert handle.is_patched
