"""Patching: off is the baseline, removal leaves nothing, and everything one does with a model still works."""

from __future__ import annotations

import copy
import functools
import io
import pickle
import threading

import pytest
import torch
from patched import merged_output
from toy_vit import GammaBlock, ScaledBlock, SequentialViT, ToyViT

from shared_tmu import PatchHandle, Schedule, patch, run_trunk
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
        assert handle._trunk.plan is None
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
            other = PatchHandle.find(twin)
            assert (other.plan, other.plans) == (None, ())  # the original's belong to its own forward
            assert torch.equal(twin(tokens), want)
            assert len(other.plans) == len(handle.plans) == 3
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
