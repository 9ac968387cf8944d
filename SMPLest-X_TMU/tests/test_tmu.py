"""`tmu.patch` on our SMPLest-X, and on a class that is built as the published one."""

import copy

import pytest
import torch
from cases import body_standin
from published import PublishedModel, PublishedViT
from torch import Tensor, nn

import tmu
from shared_tmu.errors import PatchError
from shared_tmu.models.config import ViTConfig
from smplest_x import BodyDecoderConfig, SMPLestX, SMPLestXConfig
from smplest_x.decoder import NUM_TASK_TOKENS


@pytest.fixture(scope="module")
def model() -> SMPLestX:
    torch.manual_seed(0)
    encoder = ViTConfig(embed_dim=32, depth=4, num_heads=4, mlp_ratio=2, drop_path_rate=0.0)
    decoder = BodyDecoderConfig(depth=1, heads=2, dim_head=8, dim=32, mlp_dim=32, context_dim=32, dim_out=4)
    return SMPLestX(SMPLestXConfig(encoder=encoder, decoder=decoder), body_standin()).eval()


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    return {"img": torch.rand(2, 3, 256, 192, generator=torch.Generator().manual_seed(1))}


def run(model, batch) -> list[Tensor]:
    with torch.no_grad():
        return list(model(batch).values())


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


def test_decoder_reads_what_merging_leaves(model, batch):
    lengths = []
    hook = model.decoder.register_forward_hook(lambda module, args, out: lengths.append(args[0].shape[1]))
    for unmerge in (True, False):
        with tmu.patch(model, "20x4", unmerge=unmerge):
            assert all(t.isfinite().all() for t in run(model, batch))
    hook.remove()
    assert lengths == [272, 192]


def test_task_tokens_keep_their_place_after_every_block(model, batch):
    first = torch.arange(NUM_TASK_TOKENS).expand(2, -1)
    with tmu.patch(model, "30x2+90x2", record=True) as handle:
        run(model, batch)
        assert [plan.num_slots for plan in handle.plans] == [242, 212, 146, 113]
        for plan in handle.plans:
            assert torch.equal(plan.source_map[:, :NUM_TASK_TOKENS], first)
            assert (plan.sizes()[:, :NUM_TASK_TOKENS] == 1).all()


def test_encoder_alone_wrapped_and_copied(model, batch):
    with tmu.patch(model, "20x4") as handle:
        want = run(model, batch)
        assert equal(run(copy.deepcopy(model), batch), want)
        with pytest.raises(PatchError, match="already patched with '20x4'"):
            tmu.patch(model.encoder, "5x4")
        handle.r = "off"
    wrapped = nn.DataParallel(model)
    for target in (model.encoder, wrapped, nn.DataParallel(wrapped)):
        with tmu.patch(target, "20x4", record=True) as handle:
            assert equal(run(model, batch), want)
            assert equal(run(wrapped, batch), want)
            assert handle.plan.num_slots == 192


def test_the_published_class_in_its_wrapper(batch):
    """A user's own checkout: the same call, and the task tokens found by themselves."""
    torch.manual_seed(0)
    wrapped = nn.DataParallel(PublishedModel(PublishedViT(task_tokens_num=80))).eval()
    img = batch["img"]
    with torch.no_grad():
        want = wrapped(img)
        with tmu.patch(wrapped, "20x4", record=True) as handle:
            got = wrapped(img)
            assert got.shape == want.shape
            assert not torch.equal(got, want)
            assert handle.plan.num_slots == 192
            assert torch.equal(handle.plan.source_map[:, :80], torch.arange(80).expand(2, -1))
        assert torch.equal(wrapped(img), want)


def test_a_vit_that_does_not_say(batch):
    torch.manual_seed(0)
    bare = PublishedViT(task_tokens_num=80)
    bare.queries = bare.task_tokens
    del bare.task_tokens
    with pytest.raises(PatchError, match=r"does not say how many task tokens .* pass num_prefix_tokens"):
        tmu.patch(PublishedModel(bare), "20x4")
    with tmu.patch(PublishedModel(bare), "20x4", num_prefix_tokens=80) as handle:
        assert handle.is_patched


def test_one_graph_and_training_with_checkpoints(model, batch):
    model = copy.deepcopy(model)
    torch._dynamo.reset()
    with tmu.patch(model, "20x2"):
        compiled = torch.compile(model.encoder, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(batch["img"]), model.encoder(batch["img"]), atol=1e-4, rtol=1e-4)
        gradients = []
        for recompute in (False, True):
            model.encoder.train()
            model.encoder.use_checkpoint = recompute
            model.zero_grad()
            torch.manual_seed(0)
            model(batch)["smplx_joint_cam"].square().sum().backward()
            gradients.append(model.encoder.blocks[0].attn.qkv.weight.grad.clone())
    torch.testing.assert_close(*gradients)
