"""Held plans: a later pass merges what an earlier one merged, image by image, and nothing else changes."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
import torch
from toy_vit import SequentialViT, ToyViT

from shared_tmu import HeldPlans, Method, PatchHandle, patch
from shared_tmu.errors import MethodError, PatchError
from shared_tmu.method_parts.places import Between
from shared_tmu.methods.tome import plan_tome


@pytest.fixture(params=[ToyViT, SequentialViT])  # blocks one by one, and all in one call
def model(request):
    torch.manual_seed(0)
    return request.param().eval()


def maps(handle):
    return [plan.source_map for plan in handle.plans]


def patched(model, schedule="4x3", method="tome", **options):
    return patch(model, schedule, method, record=True, **options)


def test_held_plans_are_used_again(model, tokens):
    plans = HeldPlans()
    names = [f"hand {n}" for n in range(len(tokens))]
    with patched(model) as handle:
        free = model(tokens)
        own = maps(handle)
        with handle.holding(plans, names):
            assert torch.equal(model(tokens), free)  # new names
        other = torch.randn_like(tokens)
        model(other)
        assert any(not torch.equal(a, b) for a, b in zip(maps(handle), own, strict=True))
        with handle.holding(plans, names):
            model(other)
        assert all(torch.equal(a, b) for a, b in zip(maps(handle), own, strict=True))
        model(other)  # outside of the block images decide alone again
        assert any(not torch.equal(a, b) for a, b in zip(maps(handle), own, strict=True))


@pytest.mark.parametrize("method", ["tome", "tome-kth", "quadtree", "pool", "window", "random", "tomesd"])
def test_every_method_that_merges_can_be_held(model, method):
    tokens, plans = torch.randn(3, 24, 32), HeldPlans()
    with patch(model, "4x3", method, grid=(6, 4)) as handle:
        with handle.holding(plans, range(3)):
            want = model(tokens)
        with handle.holding(plans, range(3)):
            torch.testing.assert_close(model(tokens), want)


def test_no_matching_where_all_have_plans(model, tokens):
    calls, counts = [], []

    def plan(seen, r):
        calls.append(seen.layer)
        return plan_tome(seen, r)

    plans = HeldPlans()
    with patch(model, "4x3", Method("counting", Between(plan))) as handle:
        for names in (range(len(tokens)), range(len(tokens)), [*range(1, len(tokens)), "new"]):
            with handle.holding(plans, names):
                model(tokens)
            counts.append(len(calls))
            calls.clear()
    assert counts == [3, 0, 3]  # the last block merges nothing


def test_names_not_places_decide(model, tokens):
    plans = HeldPlans()
    turned = tokens.flip(0)
    with patched(model) as handle:
        with handle.holding(plans, range(len(tokens))):
            want = model(tokens)
        with handle.holding(plans, range(len(tokens))[::-1]):
            torch.testing.assert_close(model(turned), want.flip(0))
            held = maps(handle)
        with handle.holding(plans, range(len(tokens))[::-1]):
            model(torch.randn_like(tokens))
        assert all(torch.equal(a, b) for a, b in zip(maps(handle), held, strict=True))


def test_new_names_and_none_decide_alone(model, tokens):
    plans = HeldPlans()
    fresh = torch.randn_like(tokens)
    with patched(model) as handle:
        with handle.holding(plans, ["a"] * len(tokens)):
            model(tokens)
        of_a = maps(handle)
        for of_layer in of_a:  # the first image decides for all of its name
            assert torch.equal(of_layer, of_layer[:1].expand_as(of_layer))
        model(fresh)
        alone = maps(handle)
        with handle.holding(plans, ["a", *[None] * (len(tokens) - 1)]):
            model(fresh)
        for now, a, own in zip(maps(handle), of_a, alone, strict=True):
            assert torch.equal(torch.cat([now[:1], now[1:]]), torch.cat([a[:1], own[1:]]))
        assert (len(plans), "a" in plans, None in plans) == (1, True, False)
        plans.keep_only(())
        with handle.holding(plans, ["a", *[None] * (len(tokens) - 1)]):
            model(fresh)
        assert all(torch.equal(a, b) for a, b in zip(maps(handle), alone, strict=True))


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(torch.arange, id="a tensor"),
        pytest.param(lambda n: list(torch.arange(float(n))), id="tensors"),
        pytest.param(np.arange, id="an array"),
        pytest.param(lambda n: iter(range(n)), id="an iterator"),
    ],
)
def test_numbers_are_found_again_by_value(model, tokens, names):
    plans = HeldPlans()
    with patched(model) as handle:
        with handle.holding(plans, names(len(tokens))):
            model(tokens)
        own = maps(handle)
        with handle.holding(plans, names(len(tokens))):
            model(torch.randn_like(tokens))
        assert all(torch.equal(a, b) for a, b in zip(maps(handle), own, strict=True))
    assert len(plans) == len(tokens)
    assert 0 in plans


@pytest.mark.parametrize(
    "names", ["abc", 3, None, [[1], [2]], [float("nan")], torch.eye(3), [{}], torch.tensor(1)]
)
def test_what_cannot_be_found_again_is_no_name(model, names):
    with patched(model) as handle, pytest.raises(PatchError, match="held under"):
        handle.holding(HeldPlans(), names)


def test_plans_follow_the_model_to_another_device_and_dtype(model, tokens):
    plans, names = HeldPlans(), range(len(tokens))
    with patched(model) as handle:
        with handle.holding(plans, names):
            model(tokens)
        own = maps(handle)
        model.bfloat16()
        with handle.holding(plans, names):
            model(torch.randn_like(tokens).bfloat16())
        assert all(torch.equal(a, b) for a, b in zip(maps(handle), own, strict=True))
        model.to("meta")
        for new in (names, ["new", *names[1:]]):
            with handle.holding(plans, new):
                assert model(tokens.bfloat16().to("meta")).shape == tokens.shape


def test_threads_hold_for_themselves(model, tokens):
    with patched(model) as handle:
        want = model(tokens)
        with handle.holding(HeldPlans(), range(len(tokens))):
            model(torch.randn_like(tokens))
            out: list[torch.Tensor] = []
            thread = threading.Thread(target=lambda: out.append(model(tokens)))
            thread.start()
            thread.join()
            assert torch.equal(out[0], want)


def test_other_settings_are_refused(model, tokens):
    plans, names = HeldPlans(), range(len(tokens))
    with patched(model) as handle, handle.holding(plans, names):
        model(tokens)
    for schedule, method in (("5x3", "tome"), ("4x3", "random")):
        with (
            patched(model, schedule, method) as handle,
            pytest.raises(PatchError, match="make a new HeldPlans"),
            handle.holding(plans, names),
        ):
            pytest.fail("plans of other settings were accepted")
    with patched(model) as handle, handle.holding(plans, names):  # the same settings in another patch
        model(tokens)


def test_another_number_of_images_is_refused(model, tokens):
    with patched(model) as handle, handle.holding(HeldPlans(), ["a"]):
        if len(tokens) != 1:
            with pytest.raises(PatchError, match=f"for 1 images, but this batch has {len(tokens)}"):
                model(tokens)


@pytest.mark.parametrize("method", ["evit", "dct", "tofu", "mctf", "tome-kth:k=5:cuts_tail=true"])
def test_methods_that_do_more_than_merge_are_refused(model, tokens, method):
    with (
        patch(model, "4x3", method) as handle,
        handle.holding(HeldPlans(), range(len(tokens))),
        pytest.raises(MethodError, match=f"{method!r} cannot be held"),
    ):
        model(tokens)


def test_a_copied_patch_holds_nothing(model, tokens):
    with patched(model) as handle:
        want = model(tokens)
        with handle.holding(HeldPlans(), range(len(tokens))):
            model(torch.randn_like(tokens))
            assert torch.equal(copy.deepcopy(model)(tokens), want)


@pytest.mark.parametrize("entered", ["holding", "masked"])
def test_a_model_can_be_compiled_after_it_held_or_masked(entered):
    torch._dynamo.reset()
    model, tokens = SequentialViT(depth=2).eval(), torch.randn(2, 24, 32)
    given = {"holding": (HeldPlans(), range(2)), "masked": (torch.arange(48).view(2, 24) % 3 == 0,)}
    with patch(model, "4x1") as handle, torch.no_grad():
        want, compiled = model(tokens), torch.compile(model, fullgraph=True, backend="eager")
        with getattr(handle, entered)(*given[entered]):
            model(tokens)
            copied = PatchHandle.find(copy.deepcopy(model))
        torch.testing.assert_close(compiled(tokens), want)
        with (
            getattr(handle, entered)(*given[entered]),
            pytest.raises(Exception, match=r"ContextVar|PatchError"),
        ):
            compiled(tokens)  # not without a word as if there were nothing
        torch.testing.assert_close(compiled(tokens), want)
        torch.testing.assert_close(
            torch.compile(copied._owner, fullgraph=True, backend="eager")(tokens), want
        )


def test_a_removed_patch_neither_holds_nor_masks(model, tokens):
    with patched(model) as handle:
        pass
    for enter in (
        lambda: handle.holding(HeldPlans(), range(len(tokens))),
        lambda: handle.masked(torch.ones(tokens.shape[:2], dtype=torch.bool)),
    ):
        with pytest.raises(PatchError, match="has been removed"), enter():
            pass
