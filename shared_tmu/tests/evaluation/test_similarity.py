"""CKA between layers as a program: the file, and what it says where a block is idle."""

import json

import pytest
import torch
from torch import nn
from toy_hand_model import ToyHand, toy_program

from shared_tmu.evaluation.budget import similarity
from shared_tmu.layers import linear_cka


@pytest.fixture
def measured(tmp_path, data_dir):
    def call(*flags):
        model = ToyHand().eval()
        for linear in (model.backbone.blocks[2].attn.proj, model.backbone.blocks[2].mlp[2]):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        out = tmp_path / "cka.json"
        given = ["--dataset", "freihand", "--data_dir", str(data_dir), "--device", "cpu", "--out", str(out)]
        status = similarity.main(toy_program(tmp_path / "toy", model), [*given, "--batch_size", "3", *flags])
        return status, json.loads(out.read_text()) if out.exists() else None, model

    return call


def test_layers_are_compared_on_tokens_of_all_pictures(measured, capsys):
    status, record, model = measured("--tokens", "100000")
    assert status == 0
    assert (record["kind"], record["n"], record["tokens"], record["layers"]) == ("cka", 7, 7 * 64, 4)
    matrix = torch.tensor(record["cka"], dtype=torch.float64)
    assert torch.equal(matrix, matrix.T)
    assert torch.equal(matrix.diagonal(), torch.ones(4).double())
    assert matrix[1, 2] == 1.0  # the idle block
    assert matrix[0, 3] < 1.0
    assert "neighbours: mean" in capsys.readouterr().out
    assert not model.backbone.blocks[0]._forward_hooks


def test_fewer_tokens_give_nearly_the_same_and_always_the_same(measured):
    _, full, _ = measured()
    _, few, _ = measured("--tokens", "210")
    _, again, _ = measured("--tokens", "210")
    assert few == {**again}
    assert few["tokens"] == 210
    torch.testing.assert_close(torch.tensor(few["cka"]), torch.tensor(full["cka"]), rtol=0, atol=0.1)


def test_an_unknown_set_is_refused(measured, caplog):
    status, record, _ = measured("--dataset", "freihand,synthhand")
    assert (status, record) == (1, None)
    assert "name exactly one" in caplog.text
    assert linear_cka([torch.randn(5, 3)]).shape == (1, 1)
