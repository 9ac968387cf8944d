"""Patching: off is the baseline, removal leaves nothing, and everything one does with a model still works."""

from __future__ import annotations

import copy
import functools
import io
import pickle
import threading

import numpy as np
import pytest
import torch
from golden_trunk import assert_golden
from torch import nn
from torch.nn.utils import parameters_to_vector
from torch.utils.checkpoint import checkpoint
from toy_vit import GammaBlock, MapViT, ScaledBlock, SequentialViT, ToyBlock, ToyViT

from shared_tmu import PatchHandle, Schedule, merge, patch, plan_merge, run_trunk, unmerge
from shared_tmu.errors import MethodError, PatchError, PlanError, ScheduleError

VITS = pytest.mark.parametrize(
    "build",
    [
        pytest.param(ToyViT, id="module-list"),
        pytest.param(SequentialViT, id="sequential"),
        pytest.param(functools.partial(SequentialViT, block=ScaledBlock), id="layer-scale"),
        pytest.param(functools.partial(ToyViT, block=GammaBlock), id="gamma"),
    ],
)


def describe(model):
    """Everything about a model that a patch must neither change nor leave behind."""
    return (
        {name: type(module) for name, module in model.named_modules()},
        {name: set(vars(module)) for name, module in model.named_modules()},
        [(name, id(p)) for name, p in model.named_parameters()],
        list(model.state_dict()),
        dict(model.state_dict()._metadata),
    )


def merged_output(model, tokens, schedule, **options):
    with patch(model, schedule, **options):
        return model(tokens)


@VITS
@pytest.mark.parametrize("method", ["tome", "random"])
def test_off_is_the_baseline_bit_for_bit(build, method, tokens):
    model = build().eval()
    want = model(tokens)
    for off in ("off", 0, [0, 0], Schedule()):
        assert torch.equal(merged_output(model, tokens, off, method=method), want)
    merged = merged_output(model, tokens, "6x3", method=method)
    assert merged.shape == want.shape
    assert not torch.allclose(merged, want, atol=1e-3)


@VITS
def test_removal_leaves_nothing(build, tokens):
    model = build().eval()
    container, before, want = model.blocks, describe(model), model(tokens)
    with patch(model, "6x3", record=True) as handle:
        assert handle.is_patched
        assert list(model.state_dict()) == before[3]
        assert dict(model.state_dict()._metadata) == before[4]
        assert [name for name, _ in model.named_modules()] == list(before[0])
        assert [(name, id(p)) for name, p in model.named_parameters()] == before[2]
        assert len(model.blocks) == len(container)
        assert list(model.blocks.children()) == list(container)
        assert model.blocks[1] == container[1]
        assert list(model.blocks[1:3]) == list(container[1:3])
        model(tokens)
    assert not handle.is_patched
    assert model.blocks is container
    assert describe(model) == before
    assert torch.equal(model(tokens), want)
    handle.remove()  # a second time does nothing
    assert describe(model) == before


def test_removal_after_exceptions(vit, tokens):
    before, want = describe(vit), vit(tokens)
    with pytest.raises(KeyError), patch(vit, "6x3"):
        raise KeyError
    assert describe(vit) == before
    with pytest.raises(PlanError), patch(vit, "6x3", num_prefix_tokens=300):
        vit(tokens)
    vit.blocks[2].mlp.register_forward_pre_hook(functools.partial(_fail))
    with pytest.raises(RuntimeError, match="inside a block"), patch(vit, "6x3"):
        vit(tokens)
    vit.blocks[2].mlp._forward_pre_hooks.clear()
    assert describe(vit) == before
    assert torch.equal(vit(tokens), want)
    for bad in ({"schedule": "6x9"}, {"schedule": "nonsense"}, {"schedule": "6x2", "method": "nope"}):
        with pytest.raises((ScheduleError, MethodError)):
            patch(vit, **bad)
    assert describe(vit) == before


def _fail(*_):
    raise RuntimeError("inside a block")


def test_patched_equals_the_pure_function(vit, tokens):
    x = torch.cat([vit.task_tokens.expand(2, -1, -1), tokens], dim=1)
    for more in ({}, {"num_prefix_tokens": 18}, {"method": "random"}, {"proportional": False}):
        options = {"num_prefix_tokens": 0} | more
        want, plan = run_trunk(vit.blocks, x, "6x3", **options)
        with patch(vit, "6x3", record=True, **options) as handle:
            assert torch.equal(vit(tokens), vit.last_norm(want))
            assert torch.equal(handle.plan.source_map, plan.source_map)
    short, _ = run_trunk(vit.blocks, x, "6x3", num_prefix_tokens=18, unmerge=False)
    assert torch.equal(merged_output(vit, tokens, "6x3", unmerge=False), vit.last_norm(short))
    assert short.shape[1] == 58 - 18


def test_schedule_changes_while_patched(vit, tokens):
    want = {text: merged_output(vit, tokens, text) for text in ("off", "6x3", "3", "4@-1")}
    with patch(vit, "off") as handle:
        for value, text in (
            ("6x3", "6x3"),
            (3, "3"),
            ((4, -1.0), "4@-1"),
            ([6, 6, 6], "6x3"),
            ("off", "off"),
        ):
            handle.schedule = value
            assert str(handle.schedule) == text
            assert torch.equal(vit(tokens), want[text])
        handle.r = 3
        assert handle.r == [3, 3, 3, 3]
        assert torch.equal(vit(tokens), want["3"])
        for bad in ("6x5", "x", -1, 2.5):
            with pytest.raises(ScheduleError):
                handle.schedule = bad
            with pytest.raises(ScheduleError):
                handle.r = bad
        assert str(handle.schedule) == "3"
        assert torch.equal(vit(tokens), want["3"])
    with pytest.raises(PatchError, match="has been removed"):
        handle.schedule = "off"


def test_recording(vit, tokens):
    with patch(vit, "6x2", record=True, num_prefix_tokens=18) as handle:
        assert handle.plan is None
        assert handle.plans == ()
        vit(tokens)
        assert [p.num_slots for p in handle.plans] == [52, 46]
        assert all(p.num_tokens == 58 for p in handle.plans)
        assert handle.plan is handle.plans[-1]
        assert handle.plan.sizes().sum(1).tolist() == [58, 58]
        handle.schedule = "off"
        vit(tokens)
        assert handle.plans == ()
        assert torch.equal(handle.plan.source_map, torch.arange(58).expand(2, -1))
    assert handle.plan is not None  # still there to draw
    with patch(vit, "6x2") as handle:
        vit(tokens)
        assert handle._trunk.plans is None
        for name in ("plan", "plans"):
            with pytest.raises(PatchError, match="record=True"):
                getattr(handle, name)


@VITS
def test_copies_and_files_are_patched_models_of_their_own(build, tokens):
    model = build().eval()
    plain = model(tokens)
    with patch(model, "6x3", record=True) as handle:
        want = model(tokens)
        stream = io.BytesIO()
        torch.save(model, stream)
        copies = [
            copy.deepcopy(model),
            pickle.loads(pickle.dumps(model)),
            torch.load(io.BytesIO(stream.getvalue()), weights_only=False),
        ]
        for twin in copies:
            assert torch.equal(twin(tokens), want)
            other = PatchHandle.find(twin)
            other.schedule = "off"
            assert torch.equal(twin(tokens), plain)
            assert str(handle.schedule) == "6x3"
            other.remove()
            assert describe(twin)[0] == {name: type(m) for name, m in build().named_modules()}
            twin.blocks[0].mlp.fc1.weight.data.zero_()
            assert torch.equal(model(tokens), want)
    assert torch.equal(model(tokens), plain)
    with pytest.raises(PatchError, match="0 patched ViTs"):
        PatchHandle.find(model)


def test_state_dicts_go_both_ways(vit, tokens):
    other = ToyViT(depth=4, task_tokens=18).eval()
    want = merged_output(other, tokens, "6x3")
    with patch(vit, "6x3"):
        vit.load_state_dict(other.state_dict(), strict=True)
        assert torch.equal(vit(tokens), want)
        saved = vit.state_dict()
    other.load_state_dict(saved, strict=True)
    assert torch.equal(vit(tokens), other(tokens))


def test_modes_and_dtypes_change_while_patched(vit, tokens):
    with patch(vit, "6x3"):
        vit.train()
        assert all(module.training for module in vit.modules())
        vit.double()
        assert vit(tokens.double()).dtype == torch.float64
        vit.half()
    assert all(module.training for module in vit.modules())
    assert {p.dtype for p in vit.parameters()} == {torch.float16}


def test_threads_do_not_disturb_each_other(tokens):
    models = [ToyViT(depth=4).eval() for _ in range(3)]
    handles = [
        patch(model, schedule, record=True)
        for model, schedule in zip(models, ("6x3", "3", "off"), strict=True)
    ]
    want = [model(tokens) for model in models]
    plans = [handle.plan.source_map for handle in handles]
    wrong = []

    def work(i):
        for _ in range(20):
            if not torch.equal(models[i](tokens), want[i]) or not torch.equal(
                handles[i].plan.source_map, plans[i]
            ):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in (0, 1, 2, 0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


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
        PatchError, match=r"Linear has no ModuleList or Sequential of ViT blocks.*Found: nothing like it"
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
        with pytest.raises(PatchError, match="calls its blocks with more than tokens"):
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
