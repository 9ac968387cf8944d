"""Losses, optimisers and what they are made of."""

import copy
import csv
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import nn

from shared_tmu.body_models.mano import load_mano
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.errors import ConfigError, InputError
from shared_tmu.pictures.geometry import axis_angle_to_rotmat, project_points, weak_camera_to_translation
from shared_tmu.synth import Difficulty, sample_scene
from shared_tmu.synth.generator import draw, place_hand
from shared_tmu.synth.poses import sample_hand_poses
from shared_tmu.training import data, record, run_facts
from shared_tmu.training.body import BodyTraining
from shared_tmu.training.cpu_attention import AttentionWrittenOut
from shared_tmu.training.curve import append_row
from shared_tmu.training.data import _turn
from shared_tmu.training.dense import DenseHeads, dense_losses, heat_losses
from shared_tmu.training.grow import cosine_patches
from shared_tmu.training.losses import aligned_error_mm, fit_weak_camera, hand_losses
from shared_tmu.training.module import HandTraining
from shared_tmu.training.npz_mmap import map_arrays
from shared_tmu.training.optim import MuonAdamW, split_parameters, warm_cosine


@pytest.mark.parametrize("channels", [64, 128, 192])
def test_cosine_patches_are_orthonormal(channels):
    filters = cosine_patches(channels).reshape(channels, -1)
    torch.testing.assert_close(filters @ filters.T, torch.eye(channels), atol=1e-5, rtol=0)


def hands(count: int, seed: int = 0) -> tuple[ManoLayer, dict[str, torch.Tensor]]:
    rng = np.random.default_rng(seed)
    layer = ManoLayer(load_mano())
    turns = np.concatenate([rng.normal(0, 1, (count, 1, 3)), sample_hand_poses(rng, count)], axis=1)
    rotmats = axis_angle_to_rotmat(torch.tensor(turns, dtype=torch.float32))
    betas = torch.tensor(rng.normal(0, 1, (count, 10)), dtype=torch.float32)
    return layer, {"global_orient": rotmats[:, :1], "hand_pose": rotmats[:, 1:], "betas": betas}


def test_weak_camera_is_recovered_from_its_own_projection():
    layer, params = hands(8)
    points = layer(**params).keypoints
    ranges = ((3.0, 9.0), (-0.1, 0.1), (0.05, -0.1))
    camera = torch.stack([torch.linspace(start, end, 8) for start, end in ranges], 1)
    translation = weak_camera_to_translation(camera, 5000.0, 256)
    projected = project_points(points, translation, torch.full((8, 2), 5000.0 / 256))
    torch.testing.assert_close(fit_weak_camera(points, projected), camera, atol=2e-4, rtol=2e-4)


def test_true_hands_have_no_loss_and_wrong_ones_do():
    layer, params = hands(4)
    out = layer(**params)
    camera = torch.tensor([[6.0, 0.0, 0.0]]).repeat(4, 1)
    translation = weak_camera_to_translation(camera, 5000.0, 256)
    flat = project_points(out.keypoints, translation, torch.full((4, 2), 5000.0 / 256))
    batch = {**params, "keypoints_2d": flat, "keypoints_3d": out.keypoints + translation[:, None]}
    predicted = {
        "pred_mano_params": params, "pred_cam": camera, "pred_keypoints_3d": out.keypoints,
        "pred_vertices": out.vertices, "pred_keypoints_2d": flat,
    }  # fmt: skip
    right = hand_losses(predicted, batch, layer)
    assert all(float(v) < 2e-3 for v in right.values()), right
    _, other = hands(4, seed=1)
    moved = layer(**other)
    predicted["pred_mano_params"] = other
    predicted |= {"pred_keypoints_3d": moved.keypoints, "pred_vertices": moved.vertices}
    wrong = hand_losses(predicted, batch, layer)
    for key in ("keypoints_3d", "vertices", "local_vertices", "global_orient", "hand_pose", "betas"):
        assert float(wrong[key]) > 0.05, key


def test_a_wrong_wrist_alone_leaves_the_local_vertices_right():
    layer, params = hands(4)
    turned = {**params, "global_orient": hands(4, seed=1)[1]["global_orient"]}
    out, moved = layer(**params), layer(**turned)
    flat = torch.zeros(4, 21, 2)
    batch = {**params, "keypoints_2d": flat, "keypoints_3d": out.keypoints}
    predicted = {
        "pred_mano_params": turned, "pred_cam": torch.tensor([[6.0, 0.0, 0.0]]).repeat(4, 1),
        "pred_keypoints_3d": moved.keypoints, "pred_vertices": moved.vertices, "pred_keypoints_2d": flat,
    }  # fmt: skip
    losses = hand_losses(predicted, batch, layer)
    assert float(losses["local_vertices"]) < 1e-4
    assert float(losses["vertices"]) > 0.05


def test_aligned_error_ignores_similarities_but_not_mirrors():
    layer, params = hands(3)
    truth = layer(**params).vertices
    turn = axis_angle_to_rotmat(torch.tensor([[0.3, -1.0, 0.5]]))[0]
    moved = 1.7 * truth @ turn.T + torch.tensor([0.1, 0.2, 3.0])
    assert aligned_error_mm(moved, truth).max() < 1e-2
    assert aligned_error_mm(truth * torch.tensor([-1.0, 1, 1]), truth).min() > 3.0


def test_dense_heads_start_near_one_and_learn_a_batch():
    torch.manual_seed(0)
    heads = DenseHeads(32)
    tokens = torch.randn(2, 192, 32)
    batch = {
        "part": torch.randint(0, 17, (2, 64, 48)),
        "canonical": torch.rand(2, 64, 48, 3) * 0.2 - 0.1,
        "depth": torch.rand(2, 64, 48) * 0.2 - 0.1,
        "keypoints_2d": torch.rand(2, 21, 2) - 0.5,
        "keypoints_3d": torch.rand(2, 21, 3) * 0.1 + torch.tensor([0.0, 0.0, 0.5]),
    }
    optimizer = torch.optim.Adam(heads.parameters(), 0.02)
    totals = []
    for _ in range(60):
        total = torch.stack(list(dense_losses(heads(tokens), batch).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert 2.0 < totals[0] < 15.0
    assert totals[-1] < 0.6 * totals[0]


def test_heat_points_reach_every_corner_of_the_crop():
    heads = DenseHeads(8)
    centre = heads.centre.reshape(16, 12, 2)
    # patch (r, c) is centred on pixel (16c + 6 + 32 - 128, 16r + 6 - 128) of 256: within two pixels of this
    assert centre[0, 0].tolist() == pytest.approx([-0.375 + 0.5 / 16, -0.5 + 0.5 / 16])
    assert centre[15, 11].tolist() == pytest.approx([0.375 - 0.5 / 16, 0.5 - 0.5 / 16])


def test_heat_is_lowest_when_the_right_patch_scores_highest():
    heads = DenseHeads(8)
    points = torch.rand(2, 21, 2) * torch.tensor([0.7, 0.95]) - torch.tensor([0.35, 0.475])
    patch, inside = heads.patch_of(points)
    assert inside.all()
    centre = heads.centre[patch]
    assert (centre - points).abs().max() <= 0.5 / 16 + 1e-6  # the patch found is the nearest
    score = torch.zeros(2, 192, 21).scatter_(1, patch[:, None], 20.0)
    place = heads.centre[:, None].repeat(2, 1, 21, 1).reshape(2, 192, 21, 2)
    right = heat_losses(heads, {"score": score, "place": place, "kept": None}, points)
    wrong = heat_losses(heads, {"score": score.roll(5, dims=1), "place": place, "kept": None}, points)
    assert right["heat"] < 1e-3 < 1.0 < wrong["heat"]
    outside = heat_losses(heads, {"score": score, "place": place, "kept": None}, points + 3.0)
    assert outside["heat"] == 0
    assert outside["place"] == 0


@pytest.mark.parametrize("index", range(4))
def test_turned_pictures_keep_true_labels(index):
    """After a random turn the key points must still lie on the parts that the turned label map shows."""
    scene = sample_scene(21, index, Difficulty(clutter=0.0, degrade=0.0))
    picture = draw(scene)
    labels = {
        "part": picture.part[::4, 32:224:4],
        "canonical": np.round(picture.canonical[::4, 32:224:4] * 900).astype(np.int8),
        "depth": np.zeros((64, 48), np.int8),
        "keypoints_2d": picture.camera.project(picture.hand.keypoints) / 256 - 0.5,
        "keypoints_3d": picture.hand.keypoints,
        "root": scene.root,
    }
    rng = np.random.default_rng(index)
    image, turned = _turn(rng, picture.image[:, 32:224], labels)
    assert image.shape == (256, 192, 3)

    def share_on_hand(one: dict) -> float:
        at = np.round((one["keypoints_2d"] * 256 + [96, 128]) / 4).astype(int)
        inside = (at >= 0).all(1) & (at[:, 0] < 48) & (at[:, 1] < 64)
        return (one["part"][at[inside, 1], at[inside, 0]] > 0).mean()

    assert share_on_hand(turned) > share_on_hand(labels) - 0.2
    # the turned root rotation carries the posed hand onto the turned key points
    moved = place_hand(copy.copy(scene)).keypoints
    about = Rotation.from_rotvec(turned["root"]) * Rotation.from_rotvec(scene.root).inv()
    want = about.apply(moved - moved.mean(0))
    np.testing.assert_allclose(turned["keypoints_3d"] - turned["keypoints_3d"].mean(0), want, atol=1e-5)


def test_optimiser_state_resumes_exactly():
    torch.manual_seed(0)
    model = nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(8, 8)]), "head": nn.Linear(8, 2)})
    x, y = torch.randn(16, 8), torch.randn(16, 2)

    def run(model: nn.ModuleDict, optimizer: MuonAdamW, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            (model["head"](model["blocks"][0](x).relu()) - y).square().mean().backward()
            optimizer.step()

    optimizer = MuonAdamW(*split_parameters(model), lr=0.01, weight_decay=0.01)
    run(model, optimizer, 3)
    twin, state = copy.deepcopy(model), copy.deepcopy(optimizer.state_dict())
    run(model, optimizer, 3)
    other = MuonAdamW(*split_parameters(twin), lr=0.5, weight_decay=0.01)
    other.load_state_dict(state)
    run(twin, other, 3)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    counts = [len(group["params"]) for group in optimizer.param_groups]
    assert counts == [1, 3]  # the block's matrix alone goes to Muon


def test_schedule_warms_up_and_ends_low():
    values = [warm_cosine(step, 10, 100) for step in range(101)]
    assert values[0] == pytest.approx(0.1)
    assert max(values) == pytest.approx(1.0, abs=1e-3)
    assert values[-1] == pytest.approx(0.01)
    assert all(a >= b for a, b in pairwise(values[10:]))


def test_schedule_can_stay_up_for_the_stage_that_follows():
    assert [warm_cosine(step, 10, 110, anneal=0.0) for step in (10, 60, 110)] == [1.0, 1.0, 1.0]
    late = [warm_cosine(step, 10, 110, anneal=0.4) for step in (10, 69, 90, 110)]
    assert late == pytest.approx([1.0, 1.0, 0.505, 0.01])


def test_sets_end_where_they_should(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "make_shards", lambda *_: ())
    samples = data.SynthHandSet(tmp_path, 1, 8, Difficulty(), augment=False)
    assert len(samples) == 8
    for index in (8, -1):
        with pytest.raises(IndexError, match="0 to 7"):
            samples[index]


def test_records_name_the_versions_of_what_is_installed(monkeypatch):
    monkeypatch.setattr(run_facts, "PACKAGES", ("torch", "no-such-package"))
    assert run_facts.installed_versions().keys() == {"python", "torch"}


def test_time_of_a_stage_is_summed_over_its_runs():
    clock = [("easy", 10.0), ("easy", 30.0), ("easy", 12.5), ("easy", 20.0), ("deep", 5.0)]
    rows = [{"stage": stage, "seconds": str(seconds)} for stage, seconds in clock]
    assert record.stage_seconds(rows) == {"easy": 50.0, "deep": 5.0}


def test_curves_keep_their_columns_when_losses_are_added(tmp_path):
    path = tmp_path / "curve.csv"
    append_row(path, {"step": 1, "a": 0.5})
    append_row(path, {"step": 2, "b": 0.25, "a": 0.125})
    rows = list(csv.DictReader(path.open()))
    assert rows == [{"step": "1", "a": "0.5", "b": ""}, {"step": "2", "a": "0.125", "b": "0.25"}]


@pytest.mark.parametrize("scale", [None, 0.3])
def test_attention_written_out_is_the_same_function(scale):
    q, k, v = (torch.randn(2, 3, 7, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    want = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scale)
    with AttentionWrittenOut():
        got = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scale, dropout_p=0.0)
        masked = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(got, want)
    assert type(got.grad_fn).__name__ != type(want.grad_fn).__name__  # it did not run the fused kernel
    assert not torch.allclose(masked, want)
    grads = [torch.autograd.grad(out.square().sum(), (q, k, v), retain_graph=True) for out in (got, want)]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_mapped_arrays_are_those_of_the_file(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "cells": rng.integers(-99, 99, (5, 3, 2)).astype(np.int8),
        "odd": rng.normal(size=7),
        "number": np.array(3.5, np.float32),
        "empty": np.zeros((0, 4)),
        "columns": np.asfortranarray(rng.normal(size=(3, 4))),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    mapped = map_arrays(tmp_path / "a.npz")
    assert mapped.keys() == arrays.keys()
    for key, value in arrays.items():
        np.testing.assert_array_equal(mapped[key], value, strict=True)
    with pytest.raises(ValueError, match="read-only"):
        mapped["odd"][0] = 1.0
    np.savez_compressed(tmp_path / "b.npz", **arrays)
    with pytest.raises(InputError, match=r"b\.npz holds compressed arrays"):
        map_arrays(tmp_path / "b.npz")


@pytest.mark.parametrize("kind", [HandTraining, BodyTraining])
def test_some_loss_that_there_is_has_a_weight(kind):
    nothing = dict.fromkeys(kind.LOSSES - {"silhouette"}, 0.0)
    with pytest.raises(ConfigError, match="all losses have weight 0"):
        kind.check_weights(nothing)
    kind.check_weights({**nothing, "silhouette": 1.0})
    kind.check_weights({})
