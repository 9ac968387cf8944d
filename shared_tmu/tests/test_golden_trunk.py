"""Whole trunks against recorded outputs of the published code."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from golden_trunk import assert_golden, cut_to_depth, part, read_golden, read_r
from toy_vit import MapViT, ToyViT

from shared_tmu import Schedule, patch, plan_merge, run_trunk
from shared_tmu.methods import METHODS
from shared_tmu.trunk import TrunkSettings, run_blocks

FILES = {
    name: read_golden(f"trunk/{name}") for name in ("hamer_full_grid", "hamer_small_grid", "wilor_small_grid")
}
CASES = [
    pytest.param(name, case, id=f"{name}-{case['name']}")
    for name, (_, meta) in FILES.items()
    for case in meta["config"]["schedules"]
]


def build_vit(name):
    tensors, meta = FILES[name]
    shape = meta["config"]["backbone"]
    width = shape["embed_dim"]
    vit = ToyViT(shape["depth"], 0, width, heads=shape["num_heads"], hidden=width * shape["mlp_ratio"])
    weights = {k: v for k, v in part(tensors, "weights").items() if k.startswith(("blocks", "last_norm"))}
    vit.load_state_dict({"task_tokens": torch.zeros(1, 0, width), **weights})
    return vit.eval()


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "case"), CASES)
@pytest.mark.usefixtures("poisoned_memory")
def test_trunk_equals_the_published_one(name, case, dtype):
    tensors, meta = FILES[name]
    want, prefix = part(tensors, case["name"]), meta["config"]["protected_tokens"]
    vit = build_vit(name).to(dtype)
    schedule = Schedule.parse(cut_to_depth(read_r(case), len(vit.blocks)))
    options = {"num_prefix_tokens": prefix, "proportional": case["prop_attn"]}
    x = tensors[f"batch{case['batch']}.tokens_in"].to(dtype)

    tokens, plan = run_trunk(vit.blocks, x, schedule, **options)
    assert torch.equal(plan.source_map, want["source_index"])
    assert torch.equal(plan.sizes(), want["sizes"][..., 0].long())
    assert_golden(tokens, want["unmerged"])
    assert schedule.per_layer(len(vit.blocks)) == want["r_schedule"].tolist()
    assert schedule.token_counts(len(vit.blocks), x.shape[1], prefix) == want["tokens_per_layer"].tolist()

    with patch(vit, schedule, record=True, **options) as handle:
        assert_golden(vit(x), want["features"])
        assert torch.equal(handle.plan.source_map, want["source_index"])
        kept = [x.shape[1]] + [p.num_slots for p in handle.plans]
        assert kept == sorted(set(want["tokens_per_layer"].tolist()), reverse=True)


@torch.no_grad()
@pytest.mark.parametrize("name", FILES)
def test_off_equals_the_published_baseline(name):
    tensors, meta = FILES[name]
    vit = build_vit(name)
    for batch in range(len({case["batch"] for case in meta["config"]["schedules"]})):
        want = part(tensors, f"batch{batch}")
        tokens, _ = run_trunk(vit.blocks, want["tokens_in"], "off")
        assert_golden(tokens, want["tokens_pre_norm"])
        assert_golden(vit.last_norm(tokens), want["features"])


@torch.no_grad()
def test_every_block_equals_the_published_trace():
    tensors, _ = FILES["hamer_small_grid"]
    trace, vit = part(tensors, "trace"), build_vit("hamer_small_grid")
    x = tensors["batch0.tokens_in"]
    for depth in range(1, 7):
        settings = TrunkSettings(Schedule.parse([3] * depth), METHODS["tome"], unmerge=False)
        out, plans = run_blocks(list(vit.blocks)[:depth], x, settings)
        assert_golden(out, trace[f"block{depth - 1}.out"])
        assert torch.equal(plans[depth - 1].sizes(), trace[f"block{depth - 1}.size"][..., 0].long())
        check_match(trace, depth - 1)


def check_match(trace, step):
    """The recorded metric gives the recorded pairs and order."""
    metric, sources = trace[f"match{step}.metric"], trace[f"match{step}.src_idx"]
    plan = plan_merge(metric, sources.shape[1])
    of_sources, of_targets = plan.source_map[:, 0::2], plan.source_map[:, 1::2]
    assert torch.equal(of_sources.gather(1, sources), of_targets.gather(1, trace[f"match{step}.dst_idx"]))
    kept = trace[f"match{step}.unm_idx"]
    assert torch.equal(of_sources.gather(1, kept), torch.arange(kept.shape[1]).expand(len(kept), -1))


@torch.no_grad()
def test_a_vit_of_the_published_shape_from_image_to_map():
    tensors, meta = FILES["hamer_small_grid"]
    shape = meta["config"]["backbone"]
    vit = MapViT((128, 64), 16, shape["embed_dim"], shape["num_heads"], 128, shape["depth"])
    vit.load_state_dict(part(tensors, "weights"))
    first, last = meta["config"]["crop_columns"]
    for case in meta["config"]["schedules"]:
        img = tensors[f"batch{case['batch']}.img"][..., first:last]
        r = cut_to_depth(read_r(case), shape["depth"])
        with patch(vit, r, proportional=case["prop_attn"]):
            features = vit(img)
        assert features.shape[1:] == (64, 8, 4)
        assert_golden(features.flatten(2).transpose(1, 2), tensors[f"{case['name']}.features"])


@torch.no_grad()
def test_classifiers_of_the_tome_repository():
    tensors, meta = read_golden("trunk/vit_tome")
    weights = part(tensors, "weights")
    vit = ToyViT(4, 0, 64, heads=4, hidden=128)
    vit.load_state_dict({k: v for k, v in weights.items() if k.startswith("blocks")}, strict=False)
    patches = F.conv2d(
        tensors["image"], weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], 8
    )
    patches = patches.flatten(2).transpose(1, 2)
    starts = {
        "cls": ([weights["cls_token"]], weights["pos_embed"]),
        "nocls_avg": ([], weights["pos_embed"][:, 1:]),
        "distilled": (
            [weights["cls_token"], weights["distilled.dist_token"]],
            weights["distilled.pos_embed"],
        ),
    }
    for name, case in meta["cases"].items():
        prefix, position = starts[case["model"]]
        x = torch.cat([*(p.expand(len(patches), -1, -1) for p in prefix), patches], dim=1) + position
        tokens, plan = run_trunk(
            vit.blocks,
            x,
            read_r(case),
            num_prefix_tokens=len(prefix),
            proportional=case["prop_attn"],
            unmerge=False,
        )
        want = part(tensors, name)
        assert_golden(tokens, want["tokens"], 1e-4)
        assert torch.equal(plan.source_map, want["map"])
        assert torch.equal(plan.sizes(), want["size"][..., 0].long())
