"""The probe: what it learns, how it is kept, and for whose weights it is."""

from __future__ import annotations

import pytest
import torch
from freihand_folder import write_freihand
from toy_hand_model import ToyHand, toy_program
from toy_vit import ToyViT

from shared_tmu.datasets import SetOptions, open_dataset
from shared_tmu.errors import CheckpointError, InputError, MissingAssetError
from shared_tmu.files.checkpoints import save_safetensors
from shared_tmu.masks import ProbeFacts, TokenProbe, weights_before
from shared_tmu.programs.mask_flags import choose_probe, probe_beside
from shared_tmu.programs.model_program import Run
from shared_tmu.schedule import Schedule
from shared_tmu.training import probe as training


def labelled(pictures: int = 20, noise: float = 0.5) -> training.Labelled:
    """Tokens of which channel 2 says what they show."""
    draws = torch.Generator().manual_seed(0)
    shows = torch.rand(pictures, 30, generator=draws) < 0.3
    tokens = torch.randn(pictures, 30, 5, generator=draws) * noise
    tokens[..., 2] += shows * 2.0 + 7.0
    return training.Labelled(tokens, shows)


def test_it_finds_the_direction_that_tells_the_subject() -> None:
    found = labelled()
    weight, bias = training.fit(found)
    score = found.tokens @ weight + bias
    assert int(weight.abs().argmax()) == 2
    assert training.area_under_curve(score, found.shows) > 0.99
    share = torch.sigmoid(score).mean()
    assert share == pytest.approx(float(found.shows.float().mean()), abs=0.02)  # it is calibrated


def test_area_under_curve() -> None:
    shows = torch.tensor([[True, False, True, False]])
    assert training.area_under_curve(torch.tensor([[3.0, 1.0, 2.0, 0.0]]), shows) == 1.0
    assert training.area_under_curve(torch.tensor([[0.0, 1.0, 0.0, 1.0]]), shows) == 0.0
    assert training.area_under_curve(torch.zeros(1, 4), shows) == 0.5
    assert training.area_under_curve(torch.tensor([[2.0, 1.0, 0.0, 1.0]]), shows) == 0.5


def test_kept_with_its_facts(tmp_path) -> None:
    probe = TokenProbe(torch.arange(4.0), torch.tensor(-1.5), 2)
    path = tmp_path / "toy.probe.safetensors"
    probe.save(path, ProbeFacts("Toy", "abc", {"auc": 0.9}))
    assert path.stat().st_size < 2000
    same, facts = TokenProbe.load(path)
    assert same.block == 2
    assert torch.equal(same.weight, probe.weight)
    assert torch.equal(same.bias, probe.bias)
    assert (facts.model, facts.weights, facts.measured) == ("Toy", "abc", {"auc": 0.9})
    x = torch.randn(1, 3, 4)
    assert torch.equal(same(x, None), (x @ torch.arange(4.0) - 1.5).sigmoid())


def test_other_files_are_refused(tmp_path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(MissingAssetError):
        TokenProbe.load(path)
    path.write_bytes(b"{}")
    with pytest.raises(CheckpointError):
        TokenProbe.load(path)
    save_safetensors({"weight": torch.zeros(3), "bias": torch.zeros(())}, path)
    with pytest.raises(CheckpointError, match="is not a probe"):
        TokenProbe.load(path)
    good = '{"model": "a", "weights": "b", "block": 0, "measured": {}}'
    for tensors, about in (
        ({"weight": torch.zeros(3)}, good),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(())}, good),
        ({"weight": torch.full((3,), torch.nan), "bias": torch.zeros(())}, good),
        ({"weight": torch.zeros(3), "bias": torch.zeros(())}, "{"),
        ({"weight": torch.zeros(3), "bias": torch.zeros(())}, good.replace("0", "-1")),
        ({"weight": torch.zeros(3), "bias": torch.zeros(())}, "[]"),
    ):
        save_safetensors(tensors, path, {"kind": "tmu-token-probe-1", "about": about})
        with pytest.raises(CheckpointError, match="damaged probe"):
            TokenProbe.load(path)


def test_it_belongs_to_the_weights_before_its_block() -> None:
    vit = ToyHand().backbone
    before = [weights_before(vit, block) for block in range(3)]
    assert len(set(before)) == 3
    assert weights_before(vit.to(torch.bfloat16), 1) == before[1]
    vit.float()
    with torch.no_grad():
        vit.blocks[1].mlp[0].weight += 1.0
    assert weights_before(vit, 1) == weights_before(vit.to(torch.bfloat16), 1)
    after = [weights_before(vit, block) for block in range(3)]
    assert after[0] == weights_before(vit, 0)
    assert after[2] != before[2]


def test_where_it_is_looked_for(tmp_path) -> None:
    beside = probe_beside(tmp_path / "toy.safetensors")
    assert beside.name == "toy.probe.safetensors"
    assert choose_probe(None, "box", beside) is None
    with pytest.raises(InputError, match=r"shared_tmu\.training\.probe"):
        choose_probe(None, "landmarks+probe", tmp_path / "toy.safetensors")
    beside.write_bytes(b"x")
    assert choose_probe(None, "landmarks+probe", tmp_path / "toy.safetensors") == beside


def test_trained_for_a_model_and_used_by_its_programs(tmp_path) -> None:
    write_freihand(tmp_path / "freihand", count=8, size_px=112)
    model = ToyHand().eval()
    program = toy_program(tmp_path / "toy", model)
    data = open_dataset("freihand", tmp_path, SetOptions(model.config))
    probe, measured = training.train_probe(program, model, data, block=1)
    assert measured["pictures"] == 6
    assert 0.0 <= measured["auc"] <= 1.0  # pictures of noise
    assert 0.0 <= measured["recall"] <= 1.0
    path = probe_beside(program.default_checkpoint)
    probe.save(path, ProbeFacts("Toy", weights_before(model.backbone, 1), measured))
    run = Run(Schedule.parse("20x2"), "tome", True, mask="probe", probe=path)
    run.check(program, model)
    assert run.label == "20x2-mask-probe"
    batch = {"img": torch.stack([data.load(index)["img"] for index in range(4)])}
    with torch.no_grad():
        with run.applied(program, model):
            masked = model(batch)["pred_vertices"]
        with Run(Schedule.parse("20x2"), "tome", True).applied(program, model):
            plain = model(batch)["pred_vertices"]
        assert not torch.equal(masked, plain)
        model.backbone.blocks[0].mlp[0].weight += 0.5
    with pytest.raises(CheckpointError, match="trained for other weights"):
        run.check(program, model)
    with pytest.raises(InputError, match="blocks 0 to 3"):
        training.collect(program, model, data, 9)


def test_a_probe_is_not_written_over_the_weights_nor_trained_for_nowhere(tmp_path, monkeypatch, caplog):
    program = toy_program(tmp_path / "toy")
    monkeypatch.setattr(training, "find_program", lambda name: program)
    monkeypatch.setattr(training, "train_probe", lambda *given: pytest.fail("trained"))
    weights = program.default_checkpoint
    before = weights.read_bytes()
    assert training.main(["--model", "toy", "--out", str(weights)]) == 1
    assert f"--out {weights} would write over {weights}" in caplog.text
    assert training.main(["--model", "toy", "--out", str(weights / "probe.safetensors")]) == 1
    assert "cannot be written" in caplog.text
    assert weights.read_bytes() == before


def test_a_probe_is_read_for_its_own_weights_only(tmp_path) -> None:
    torch.manual_seed(0)
    vit, other, path = ToyViT(depth=2), ToyViT(depth=2), tmp_path / "toy.probe.safetensors"
    facts = ProbeFacts("Toy", weights_before(vit, 1), {})
    TokenProbe(torch.arange(32.0), torch.tensor(0.0), 1).save(path, facts)
    assert TokenProbe.for_model(path, vit).block == 1
    with pytest.raises(CheckpointError, match=r"was trained for other weights \(Toy\)"):
        TokenProbe.for_model(path, other)
