"""What is said of tokens and blocks: cosines of the pairs that merge, blocks that do nothing, task tokens."""

import json

import pytest
import torch
from torch.nn import functional
from toy_hand_model import ToyHand, toy_program

from shared_tmu.evaluation import tokens
from shared_tmu.evaluation.speed import count_tokens
from shared_tmu.programs.model_program import Run
from shared_tmu.schedule import Schedule


@pytest.fixture
def found(tmp_path):
    """Facts of a toy model whose third block does nothing."""
    model = ToyHand()
    block = model.backbone.blocks[2]
    with torch.no_grad():
        for linear in (block.attn.proj, block.mlp[2]):
            linear.weight.zero_()
            linear.bias.zero_()
    batch = {"img": torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))}
    return tokens.measure_blocks(toy_program(tmp_path, model), model, batch, "5")


def test_pairs_that_merge_are_more_alike_than_others(found):
    assert len(found) == 4
    assert all(1 >= block.merged_cosine > block.random_cosine for block in found)
    assert [block.change == 0 for block in found] == [False, False, True, False]
    assert {block.task_cosine for block in found} == {None}


def test_means_over_parts_and_blocks_that_count(found):
    lines = tokens.summarise(found)
    assert [line["blocks"] for line in lines] == ["1-1", "2-2", "3-3", "4-4", "all"]
    assert lines[-1]["merged_cosine"] == pytest.approx(sum(block.merged_cosine for block in found) / 4)
    assert 1 < lines[-1]["effective_blocks"] < 3.001
    same = [tokens.BlockFacts(0.9, 0.1, None, 0.5)] * 8
    assert [line["effective_blocks"] for line in tokens.summarise(same)] == pytest.approx([2, 2, 2, 2, 8])
    still = tokens.summarise([tokens.BlockFacts(0.9, 0.1, None, 0.0)] * 4)
    assert [line["effective_blocks"] for line in still] == [0.0] * 5


def test_cosines_are_those_of_plain_pairs():
    metric = torch.randn(1, 7, 4, generator=torch.Generator().manual_seed(0))
    merged, overall, task = tokens._cosines(metric, 1, 3)
    sources, targets = metric[0, [3, 5]], metric[0, [4, 6]]
    table = functional.cosine_similarity(sources[:, None], targets[None], dim=-1)
    assert merged == pytest.approx(float(table.max()), abs=1e-6)
    assert overall == pytest.approx(float(table.mean()), abs=1e-6)
    a, b, c = metric[0, :3]
    alone = [functional.cosine_similarity(x, y, dim=0) for x, y in ((a, b), (a, c), (b, c))]
    assert task == pytest.approx(float(sum(alone)) / 3, abs=1e-6)


def test_lines_are_written_whole(tmp_path, monkeypatch):
    model = ToyHand()
    data = [torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(i)) for i in range(2)]

    class Pictures(list):
        def head(self, count):
            return self[:count]

    monkeypatch.setattr(tokens, "open_dataset", lambda *_: Pictures(data))
    monkeypatch.setattr(tokens, "load_batch", lambda some, *_: {"img": torch.stack(list(some))})
    out = tmp_path / "tokens.jsonl"
    assert tokens.main(toy_program(tmp_path, model), ["--out", str(out), "--limit", "2"]) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["kind"], line["n"], line["model"]) for line in lines] == [("tokens", 2, "Toy")] * 5


def test_thresholds_keep_the_mean_of_what_each_picture_needs(tmp_path):
    model = ToyHand()
    program, run = toy_program(tmp_path, model), Run(Schedule.parse("threshold:0.6x4"), "ltmp", unmerge=True)
    img = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    img[1] *= 0.01  # tokens that are more alike
    each = [count_tokens(program, model, run, img[row : row + 1]) for row in range(4)]
    assert len({one["tokens_kept"] for one in each}) > 1
    found = count_tokens(program, model, run, img)
    assert found["tokens_kept"] == pytest.approx(sum(one["tokens_kept"] for one in each) / 4)
    assert found["gflops"] == pytest.approx(sum(one["gflops"] for one in each) / 4, rel=1e-3)
    fixed = Run(Schedule.parse("5x2"), "tome", unmerge=True)
    assert count_tokens(program, model, fixed, img)["tokens_kept"] == 54
