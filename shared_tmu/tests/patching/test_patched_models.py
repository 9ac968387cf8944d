"""Patched models in threads, compiled, copied, saved."""

from __future__ import annotations

import functools
import threading

import numpy as np
import pytest
import torch
from golden_trunk import assert_golden
from patched import merged_output
from torch import nn
from torch.nn.utils import parameters_to_vector
from torch.utils.checkpoint import checkpoint
from toy_vit import MapViT, SequentialViT, ToyBlock, ToyViT

from shared_tmu import Schedule, merge, patch, plan_merge, run_trunk, unmerge
from shared_tmu.errors import PatchError


def test_schedule_may_change_while_another_thread_runs(vit, tokens):
    want = [merged_output(vit, tokens, text) for text in ("6x3", "3")]
    handle, stop, wrong = patch(vit, "6x3"), threading.Event(), []

    def work():
        while not stop.is_set():
            out = vit(tokens)
            if not any(torch.equal(out, w) for w in want):
                wrong.append(out)

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(50):
        handle.schedule = 3
        handle.schedule = "6x3"
    stop.set()
    thread.join()
    assert not wrong


@pytest.mark.parametrize(("method", "prefix"), [("tome", 18), ("random", 0)])
def test_compiles_to_one_graph(method, prefix, tokens):
    torch._dynamo.reset()
    vit = ToyViT(depth=2, task_tokens=18).eval()
    plain = vit(tokens)
    with patch(vit, "0x1+6x1", method, num_prefix_tokens=prefix, record=True) as handle:
        compiled = torch.compile(vit, fullgraph=True, backend="aot_eager" if method == "tome" else "eager")
        want, plan = vit(tokens), handle.plan
        torch.testing.assert_close(compiled(tokens), want)
        assert torch.equal(handle.plan.source_map, plan.source_map)
        handle.schedule = "off"
        torch.testing.assert_close(compiled(tokens), plain)
    torch.testing.assert_close(compiled(tokens), plain)


def test_a_compiled_model_can_be_patched(tokens):
    torch._dynamo.reset()
    vit = ToyViT(depth=2).eval()
    want, plain = merged_output(vit, tokens, "6x2"), vit(tokens)
    compiled = torch.compile(vit, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(tokens), plain)
    with patch(compiled, "6x2"):
        torch.testing.assert_close(compiled(tokens), want)
    torch.testing.assert_close(compiled(tokens), plain)


def gradients(model, x, run):
    model.zero_grad()
    x = x.clone().requires_grad_()
    run(x).square().sum().backward()
    return parameters_to_vector([x.grad, *(p.grad for p in model.parameters())])


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing(reentrant):
    vit = MapViT((128, 64), 16, 32, 4, 64, depth=4)
    images = torch.randn(2, 3, 128, 64)
    with patch(vit, "4x3"):
        want = gradients(vit, images, vit)
        vit.use_checkpoint, vit.use_reentrant = True, reentrant
        torch.testing.assert_close(gradients(vit, images, vit), want)
        vit.use_checkpoint = False
        whole = functools.partial(checkpoint, vit, use_reentrant=reentrant)
        torch.testing.assert_close(gradients(vit, images, whole), want)
    assert not torch.allclose(gradients(vit, images, vit), want)


def test_training_while_patched_lowers_the_loss(vit, tokens):
    vit.train()
    optimizer = torch.optim.Adam(vit.parameters(), 1e-2)
    target, losses = torch.randn(2, 18, 32), []
    with patch(vit, "6x3", num_prefix_tokens=18):
        for _ in range(15):
            loss = (vit(tokens)[:, :18] - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_a_published_style_backbone_keeps_its_map():
    vit = MapViT((256, 192), 16, 32, 4, 64, depth=4)
    assert vit.eval() is None
    images = torch.randn(2, 3, 256, 192)
    want = vit(images)
    for schedule in ("5x4", "40x4", 8):
        assert merged_output(vit, images, schedule).shape == (2, 32, 16, 12)
    assert torch.equal(merged_output(vit, images, "off"), want)
    assert torch.equal(vit(images), want)


class Regressor(nn.Module):
    """A ViT inside a model, beside lists that are not ViTs."""

    def __init__(self, **more):
        super().__init__()
        self.head = nn.ModuleList([nn.ModuleList([nn.Linear(32, 32)]), nn.Sequential(nn.Linear(32, 3))])
        self.empty = nn.ModuleList()
        self.backbone = ToyViT()
        for name, module in more.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.head[1](self.backbone(x))


def test_finds_the_vit_inside_a_model(tokens):
    model = Regressor().eval()
    want = model.head[1](merged_output(model.backbone, tokens, "6x3"))
    with patch(model, "6x3") as handle:
        assert torch.equal(model(tokens), want)
        assert "ToyViT.blocks, '6x3'" in repr(handle)
        assert "MergedBlocks('6x3'" in repr(model)
    with patch(nn.parallel.DataParallel(model).module, "6x3"):
        assert torch.equal(model(tokens), want)


def test_a_vit_that_says_its_prefix_tokens_is_believed(vit, tokens):
    """As timm's say; what the caller says counts more."""
    with patch(vit, "6x3") as handle:
        assert handle.num_prefix_tokens == 18  # it says nothing: tried out
    for said, asked, found in ((18, None, 18), (18, 0, 0), (1, 18, 18), ("many", None, 18)):
        vit.num_prefix_tokens = said
        with patch(nn.Sequential(vit), "6x3", num_prefix_tokens=asked, record=True) as handle:
            vit(tokens)
            assert handle.num_prefix_tokens == found
            first = handle.plan.source_map[:, :found]
            assert torch.equal(first, torch.arange(found).expand_as(first))


def test_errors(vit, tokens):
    with (
        patch(vit, "6x3"),
        pytest.raises(PatchError, match=r"already patched with '6x3'\. Leave that `with` block"),
    ):
        patch(vit, "3x2")
    model = Regressor()
    with patch(model.backbone, "6x3"), pytest.raises(PatchError, match="already patched"):
        patch(model, "6x3")
    with pytest.raises(PatchError, match=r"patch inside it, patch\(model\.module"):
        patch(nn.DataParallel(vit), "6x3")
    with pytest.raises(PatchError, match=r"patch inside it"):
        patch(Regressor(wrapped=nn.DataParallel(vit)), "6x3")
    with pytest.raises(
        PatchError, match=r"several ViTs: pass the owner of one of backbone.blocks, teacher.blocks"
    ):
        patch(Regressor(teacher=ToyViT()), "6x3")
    with pytest.raises(
        PatchError, match=r"Linear has no ModuleList or Sequential of ViT blocks.*Found: nothing similar"
    ):
        patch(nn.Linear(3, 3), "6x3")
    with pytest.raises(PatchError, match="ModuleList has no"):
        patch(vit.blocks, "6x3")  # nobody owns it, so nobody would call the merged trunk
    del vit.blocks[2].norm2
    with pytest.raises(PatchError, match=r"Found: blocks \(4 x ToyBlock\): block 2: it has no norm2"):
        patch(vit, "6x3")


def test_of_several_the_one_called_blocks_counts():
    model = ToyViT(depth=2)
    model.decoder_blocks = nn.ModuleList(ToyBlock() for _ in range(3))
    with patch(model, "2x2") as handle:
        assert "ToyViT.blocks" in repr(handle)


def test_containers_with_a_way_of_their_own_are_refused(vit):
    class Skipping(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    vit.blocks = Skipping(*vit.blocks)
    with pytest.raises(PatchError, match="Skipping has its own forward"):
        patch(vit, "6x3")


def test_blocks_that_compute_something_else_are_refused(vit):
    class PostNorm(ToyBlock):
        def forward(self, x):
            x = x + self.norm1(self.attn(x))
            return x + self.norm2(self.mlp(x))

    vit.blocks = nn.ModuleList(PostNorm() for _ in range(2))
    with pytest.raises(
        PatchError, match="PostNorm has the parts of a pre-norm ViT block, but does not compute"
    ):
        patch(vit, "6x2")


class LoopWithExtras(ToyViT):
    """Gives its blocks a mask, as some timm models do."""

    extra: torch.Tensor | None = None

    def forward(self, x):
        for block in self.blocks:
            x = block(x, mask=self.extra)
        return self.last_norm(x)


def test_extra_arguments_to_blocks_are_refused_not_ignored(tokens):
    model = LoopWithExtras().eval()
    with patch(model, "6x3"):
        model(tokens)
        model.extra = torch.ones(3)
        with pytest.raises(PatchError, match=r"calls its blocks with .* besides tokens"):
            model(tokens)


def test_blocks_may_be_changed_while_patched(vit, tokens):
    with patch(vit, "6x3"):
        vit.blocks[1].mlp.fc1.weight.data.mul_(2)
        vit.blocks[3] = vit.blocks[0]
        patched = vit(tokens)
    assert vit.blocks[3] is vit.blocks[0]
    assert type(vit.blocks[0]) is ToyBlock
    assert_golden(merged_output(vit, tokens, "6x3"), patched)


def test_hooks_on_the_container_still_run(tokens):
    vit, calls = SequentialViT().eval(), []
    vit.blocks.register_forward_hook(lambda *_: calls.append(1))
    merged_output(vit, tokens, "6x3")
    vit(tokens)
    assert calls == [1, 1]


def test_functional_call(vit, tokens):
    with patch(vit, "6x3", num_prefix_tokens=18):
        want = vit(tokens)
        weights = dict(vit.named_parameters())
        torch.testing.assert_close(torch.func.functional_call(vit, weights, (tokens,)), want)


def test_patching_does_not_depend_on_its_surroundings(vit, tokens):
    with torch.autocast("cpu", torch.bfloat16):
        handle = patch(vit, "6x3", num_prefix_tokens=np.int64(18))
    handle.remove()
    torch.set_default_dtype(torch.float64)
    try:
        patch(vit, "6x3").remove()
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.inference_mode(), patch(vit.half(), "6x3"):
        assert vit(tokens.half()).isfinite().all()


def test_the_pure_parts_compile_to_one_graph(vit, tokens):
    torch._dynamo.reset()
    schedule = Schedule.parse("6x2")

    def whole(x):
        return run_trunk(vit.blocks[:2], x, schedule, num_prefix_tokens=2)[0]

    def parts(x):
        first = plan_merge(x, 5, 2)
        y, size = merge(x, first)
        second = plan_merge(y, 3, 2)
        return unmerge(merge(y, second, size)[0], first.then(second))

    for function in (whole, parts):
        compiled = torch.compile(function, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(tokens), function(tokens))
