"""Counts that follow from the images: LTMP, against its program's numbers."""

from __future__ import annotations

import pytest
import torch
from golden_trunk import assert_golden, part
from golden_vit import build_vit, embed, read_method
from toy_vit import SequentialViT, ToyViT

from shared_tmu import METHODS, patch, run_trunk
from shared_tmu.errors import PlanError, ScheduleError
from shared_tmu.kernels import using

TENSORS, CASES = read_method("vit_ltmp")
LTMP = METHODS["ltmp"]


def schedule_of(case):
    pairs = zip(case["merge_threshold"], case["prune_threshold"], strict=True)
    return "threshold:" + "+".join(f"{merge}/{prune}x1" for merge, prune in pairs)


@pytest.mark.parametrize("path", ["mask", "channel"])
@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_recorded_numbers_alone_and_in_a_batch(name, path):
    want, blocks, x = part(TENSORS, name), build_vit().blocks, embed(TENSORS["image"])
    options = {"method": LTMP, "num_prefix_tokens": 1}
    schedule = schedule_of(CASES[name])
    with using(attention=path):
        full, plan = run_trunk(blocks, x, schedule, **options)
        plan.check()
        for image in range(2):
            here = slice(image, image + 1)
            short, alone = run_trunk(blocks, x[here], schedule, unmerge=False, **options)
            assert not alone.check().is_padded
            assert short.shape[1] == want["counts"][image, -1]
            assert_golden(short, want[f"tokens{image}"], 1e-4)
            apart, _ = run_trunk(blocks, x[here], schedule, **options)
            assert (full[here] - apart).abs().max() < 1e-5 * apart.abs().max()
            assert torch.equal(plan.source_map[here], alone.source_map)
            assert torch.equal(plan.copy_map[here], alone.copy_map)
    assert plan.num_slots == want["counts"][:, -1].max()


@pytest.mark.parametrize("path", ["mask", "channel"])
@torch.no_grad()
def test_equal_to_each_image_alone(path):
    """In float64 to 1e-6, whatever lies in the padding; sizes in attention or not; patched as well."""
    vit = SequentialViT(depth=4).double().eval()
    x = torch.randn(4, 41, 32, dtype=torch.float64)
    x[1, 8:30] = x[1, 7:8] + 0.01 * torch.randn(22, 32)
    x[2] *= 3
    for proportional in (True, False):
        options = {"method": LTMP, "num_prefix_tokens": 1, "proportional": proportional}
        with using(attention=path):
            full, plan = run_trunk(vit.blocks, x, "threshold:0.6/0.015", **options)
            for image in range(4):
                alone, _ = run_trunk(vit.blocks, x[image : image + 1], "threshold:0.6/0.015", **options)
                assert (full[image] - alone[0]).abs().max() < 1e-6
            with patch(vit, "threshold:0.6/0.015", LTMP, num_prefix_tokens=1, proportional=proportional):
                torch.testing.assert_close(vit(x), vit.last_norm(full))
        assert plan.check().is_padded
        assert full.isfinite().all()
    kept = (plan.sizes() > 0).sum(1)
    assert len(set(kept.tolist())) > 1


@torch.no_grad()
def test_nothing_is_padded_where_counts_agree():
    vit, x = ToyViT(depth=3).eval(), torch.randn(1, 41, 32).expand(3, -1, -1)
    _, plan = run_trunk(vit.blocks, x, "threshold:0.6/0.015", method=LTMP, num_prefix_tokens=1)
    assert not plan.check().is_padded
    assert plan.num_slots < 41


@torch.no_grad()
def test_padding_block_by_block():
    vit, x = ToyViT(depth=4).double().eval(), torch.randn(3, 41, 32, dtype=torch.float64)
    want, _ = run_trunk(vit.blocks, x, "threshold:0.6/0.015", method=LTMP, num_prefix_tokens=1)
    with patch(vit, "threshold:0.6/0.015", LTMP, num_prefix_tokens=1):
        between = x
        for block in vit.blocks:
            between = block(between)
            assert between.shape == x.shape
    torch.testing.assert_close(between, want)


@torch.no_grad()
@pytest.mark.parametrize("kind", [ToyViT, SequentialViT])
def test_the_layers_after_the_blocks_never_read_padding(kind):
    vit, x = kind(depth=3).eval(), torch.randn(2, 41, 32)
    x[1, 8:30] = x[1, 7:8] + 0.01 * torch.randn(22, 32)
    with patch(vit, "threshold:0.6", LTMP, unmerge=False):
        counts = {vit(x[image : image + 1]).shape[1] for image in range(2)}
        assert len(counts) == 2
        assert vit(x[:1].expand(2, -1, -1)).shape[1] in counts
        with pytest.raises(PlanError, match=r"keep different numbers .* unmerge = True or 'sparse', or one"):
            vit(x)
    for unmerge in (True, "sparse"):
        with patch(vit, "threshold:0.6", LTMP, unmerge=unmerge):
            torch.testing.assert_close(vit(x)[1:], vit(x[1:]), atol=1e-5, rtol=1e-5)


def test_schedules_and_methods_have_to_fit():
    vit, x = ToyViT(depth=2).eval(), torch.randn(1, 10, 32)
    with pytest.raises(ScheduleError, match="'5x2' gives counts, but method 'ltmp' needs thresholds"):
        run_trunk(vit.blocks, x, "5x2", method=LTMP)
    with pytest.raises(
        ScheduleError, match="gives thresholds, but method 'tome' needs counts: use a schedule such as"
    ):
        run_trunk(vit.blocks, x, "threshold:0.9", method="tome")
    run_trunk(vit.blocks, x, "off", method=LTMP)
    for text in ("threshold:0.9/0.1/0.2", "threshold:0.9x1+0.9/0.1/0.2x1"):
        with pytest.raises(ScheduleError, match="gives 3 thresholds per layer, but method 'ltmp' reads at"):
            run_trunk(vit.blocks, x, text, method=LTMP)


@torch.no_grad()
def test_an_exported_graph_cannot_have_them():
    vit, x = ToyViT(depth=2).eval(), torch.randn(2, 10, 32)
    with patch(vit, "threshold:0.5/0.01", LTMP), pytest.raises(PlanError, match="same shapes for all"):
        torch.export.export(vit, (x,))


@torch.no_grad()
@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_one_token_stays_where_thresholds_would_prune_all(prefix):
    vit, x = ToyViT(depth=2).eval(), torch.randn(2, prefix + 12, 32)
    out, plan = run_trunk(vit.blocks, x, "threshold:0.5/9", method=LTMP, num_prefix_tokens=prefix)
    assert plan.check().num_slots == prefix + 1
    assert out.isfinite().all()
