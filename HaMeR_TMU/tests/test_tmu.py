"""`tmu.patch` on our HaMeR: the baseline back, and a head that reads any number of tokens."""

import copy

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

import tmu
from hamer import DecoderConfig, HaMeRConfig, ViTConfig
from hamer.model import HaMeR
from shared_tmu.body_models.mano import load_mano
from shared_tmu.errors import PatchError


@pytest.fixture(scope="module")
def model() -> HaMeR:
    torch.manual_seed(0)
    backbone = ViTConfig(embed_dim=32, depth=4, num_heads=4, mlp_ratio=2)
    decoder = DecoderConfig(depth=1, heads=2, dim_head=8, dim=32, mlp_dim=32, context_dim=32)
    return HaMeR(HaMeRConfig(backbone=backbone, decoder=decoder), load_mano()).eval()


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    return {"img": torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(1))}


def run(model, batch) -> list[Tensor]:
    with torch.no_grad():
        return tree_flatten(model(batch))[0]


def equal(first, second) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("method", ["tome", "random"])
def test_off_and_removal_are_the_baseline(model, batch, method):
    want, keys = run(model, batch), list(model.state_dict())
    with tmu.patch(model, "off", method):
        assert equal(run(model, batch), want)
        assert list(model.state_dict()) == keys
    with tmu.patch(model, "20x4", method):
        got = run(model, batch)
        assert [t.shape for t in got] == [t.shape for t in want]
        assert not equal(got, want)
    assert equal(run(model, batch), want)


def test_head_reads_what_merging_leaves(model, batch):
    lengths = []
    hook = model.mano_head.register_forward_hook(lambda module, args, out: lengths.append(args[0].shape[1]))
    for unmerge in (True, False):
        with tmu.patch(model, "20x4", unmerge=unmerge):
            out = run(model, batch)
            assert all(t.isfinite().all() for t in out)
    hook.remove()
    assert lengths == [192, 112]


def test_vit_alone_and_copies(model, batch):
    with tmu.patch(model, "20x4") as handle:
        want = run(model, batch)
        assert equal(run(copy.deepcopy(model), batch), want)
        with pytest.raises(PatchError, match="already patched with '20x4'"):
            tmu.patch(model.backbone, "5x4")
        handle.r = "off"
    with tmu.patch(model.backbone, "20x4", record=True) as handle:
        assert equal(run(model, batch), want)
        assert handle.plan.num_slots == 112


def test_one_graph_and_training_with_checkpoints(model, batch):
    model = copy.deepcopy(model)
    torch._dynamo.reset()
    with tmu.patch(model, "20x2"):
        images = batch["img"][..., 32:-32]
        compiled = torch.compile(model.backbone, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(images), model.backbone(images), atol=1e-4, rtol=1e-4)
        gradients = []
        for recompute in (False, True):
            model.backbone.train()
            model.backbone.use_checkpoint = recompute
            model.zero_grad()
            torch.manual_seed(0)
            model(batch)["pred_vertices"].square().sum().backward()
            gradients.append(model.backbone.blocks[0].attn.qkv.weight.grad.clone())
    torch.testing.assert_close(*gradients)
