"""`tmu.patch` on our WiLoR, and on a class that is built as the published one."""

import pytest
import torch
from folder import FOLDER
from published import PublishedModel, PublishedViT
from suites.hands import check, run
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


@pytest.mark.parametrize("published", [False, True], ids=["ours", "published"])
def test_merge_only_is_a_sparse_grid(batch, published):
    """The refinement gets its map: each slot stands once, where its first token was; the rest is zero."""
    torch.manual_seed(0)
    model = PublishedModel(PublishedViT()).eval() if published else FOLDER.tiny(depth=4)
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


@pytest.mark.parametrize(
    "name", ["small_grid.defect.int3", "full_grid.defect.int8", "full_grid.defect.int30"]
)
def test_protecting_the_last_tokens_is_the_published_merging(name):
    case = name.partition(".")[0]
    model, wanted = FOLDER.case_model(case), FOLDER.tensors(name)
    img = FOLDER.tensors(f"{case}.inputs0")["img"]
    with tmu.patch(model, wanted["r_schedule"].tolist(), protect="last", record=True) as handle:
        found = run(model, img)
        plan = handle.plan
    check(found, wanted, {"features", "betas", "pred_cam", "pred_vertices", "pred_keypoints_2d"})
    assert torch.equal(plan.source_map, wanted["source_index"])
    assert torch.equal(plan.sizes().gather(1, plan.source_map)[:, :18], wanted["task_token_group_size"])
    assert (wanted["task_token_group_size"] > 1).any()
