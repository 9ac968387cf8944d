"""`tmu.patch` of a folder on its own model: the baseline back, and task tokens left alone."""

import copy
import json
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._pytree import tree_flatten

from shared_tmu import METHODS, Schedule
from shared_tmu.errors import PatchError
from shared_tmu.kernels import using
from shared_tmu.masks import TokenProbe
from shared_tmu.method_parts.learned import LearnedFacts
from shared_tmu.programs.learned_files import choose_learned, read_schedule
from shared_tmu.programs.mask_flags import probe_beside
from shared_tmu.programs.model_program import Run

from .folders import ModelFolder
from .waiting import shapes_without_numbers

DEPTH = 4
PATCHES = 192


def flat(model: Any, batch: dict[str, Tensor]) -> list[Tensor]:
    """Everything the model says."""
    with torch.no_grad():
        return tree_flatten(model(batch))[0]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    """Bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


class PatchSuite:
    """What patching does to a model of four blocks."""

    folder: ClassVar[ModelFolder]

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> Any:
        return cls.folder.tiny(depth=DEPTH)

    @pytest.fixture(scope="class")
    @classmethod
    def batch(cls) -> dict[str, Tensor]:
        return {"img": cls.folder.images(2)}

    @property
    def patch(self) -> Any:
        return self.folder.tmu.patch

    def test_the_bundled_probe_is_for_the_bundled_weights(self) -> None:
        program = self.folder.program
        path = probe_beside(program.default_checkpoint)
        probe, facts = TokenProbe.load(path)
        model = program.load_model(None)
        probe.require_fit(facts, program.estimates.vit(model), path)
        assert facts.model == program.name
        assert facts.measured["auc"] > 0.9
        assert path.stat().st_size < 4000

    @pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.learn])
    def test_the_bundled_learned_parts_are_for_the_bundled_weights(self, method: str) -> None:
        program = self.folder.program
        path = choose_learned(None, [method], program.default_checkpoint)[method]
        if path is None:
            pytest.skip("no such file is shipped")
        facts, model = LearnedFacts.read(path), program.load_model(None)
        assert (facts.model, facts.method) == (program.name, method)
        asked = "learned" if facts.schedule else json.loads(facts.recipe)["r"]
        run = Run(read_schedule(asked, method, path), method, unmerge=True, learned=path)
        run.check(program, model)
        assert path.stat().st_size < 300_000

    @pytest.mark.parametrize("method", METHODS)
    def test_off_and_removal_are_the_baseline(
        self, model: Any, batch: dict[str, Tensor], method: str
    ) -> None:
        want, keys = flat(model, batch), list(model.state_dict())
        with self.patch(model, "off", method):
            assert equal(flat(model, batch), want)
            assert list(model.state_dict()) == keys
        schedule = "threshold:0.1x4" if METHODS[method].reads == "thresholds" else "20x4"
        with self.patch(model, schedule, method):
            got = flat(model, batch)
            assert [t.shape for t in got] == [t.shape for t in want]
            assert not equal(got, want)
        assert equal(flat(model, batch), want)

    @pytest.mark.parametrize("unmerge", [True, False], ids=["unmerged", "merge-only"])
    @settings(max_examples=30, deadline=None, derandomize=True)
    @given(
        removed=st.lists(st.integers(0, 120), min_size=1, max_size=DEPTH),
        method=st.sampled_from([name for name, row in METHODS.items() if row.reads == "counts"]),
        proportional=st.booleans(),
        seed=st.integers(0, 2**31),
    )
    @example(removed=[96, 96, 96, 96], method="tome", proportional=True, seed=0)
    @example(removed=[1], method="random", proportional=False, seed=1)
    def test_task_tokens_are_alone_and_in_place_after_every_block(
        self, unmerge: bool, removed: list[int], method: str, proportional: bool, seed: int
    ) -> None:
        """For any schedule and any picture: the first T rows of every source map are the identity, nobody
        else is in those slots, and what a task token was before a block it stands at the same place after.
        """
        prefix, model = self.folder.prefix, self.shared_model()
        vit = self.folder.vit(model)
        tokens = torch.randn(2, prefix + PATCHES, 16, generator=torch.Generator().manual_seed(seed))
        schedule = Schedule.parse(removed)
        options = {"unmerge": unmerge or METHODS[method].mixes, "proportional": proportional, "record": True}
        with torch.no_grad(), self.patch(model, schedule, method, **options) as handle:
            vit.blocks(tokens)
            plans = handle.plans
        asked = sum(r > 0 for r in removed)
        assert 0 < len(plans) <= asked if METHODS[method].removes and asked else not plans
        first = torch.arange(prefix).expand(2, -1)
        for plan in plans:
            if plan.source_map is None:  # all patch tokens are mixed
                rows = plan.parts[-1].matrix
                assert torch.equal(rows[:prefix, :prefix], torch.eye(prefix).to(rows))
                assert not rows[:prefix, prefix:].any()
                assert not rows[prefix:, :prefix].any()
                continue
            assert torch.equal(plan.source_map[:, :prefix], first)
            assert (plan.copy_map[:, prefix:] >= prefix).all()
            assert (plan.sizes()[:, :prefix] == 1).all()
            assert plan.sizes().sum() == (plan.source_map >= 0).sum()
            assert plan.prunes or plan.sizes().sum() == 2 * (prefix + PATCHES)

    @classmethod
    def shared_model(cls) -> Any:
        """One model for all examples of a property."""
        if "_shared" not in cls.__dict__:
            cls._shared = cls.folder.tiny(depth=DEPTH)
        return cls._shared

    def test_task_tokens_say_the_same_whatever_merges_behind_them(self, model: Any) -> None:
        """Blocks that only see task tokens cannot tell: a trunk whose attention ignores patches."""
        prefix, vit = self.folder.prefix, copy.deepcopy(self.folder.vit(model))
        if not prefix:
            return
        for block in vit.blocks:
            torch.nn.init.zeros_(block.attn.qkv.weight)
            torch.nn.init.zeros_(block.attn.proj.weight)
        tokens = torch.randn(1, prefix + PATCHES, 16)
        with torch.no_grad():
            want = tokens
            for block in vit.blocks:
                want = block(want)
            with self.patch(vit, "40x4"):
                got = vit.blocks(tokens)
            with self.patch(vit, "40x4", protect="last"):
                published = vit.blocks(tokens)
        torch.testing.assert_close(got[:, :prefix], want[:, :prefix])
        assert (published[:, :prefix] - want[:, :prefix]).abs().max() > 0.1

    def test_the_vit_alone_and_copies(self, model: Any, batch: dict[str, Tensor]) -> None:
        vit = self.folder.vit(model)
        with self.patch(model, "20x4") as handle:
            want = flat(model, batch)
            assert equal(flat(copy.deepcopy(model), batch), want)
            with pytest.raises(PatchError, match="already patched with '20x4'"):
                self.patch(vit, "5x4")
            handle.r = "off"
        with self.patch(vit, "20x4", record=True) as handle:
            assert equal(flat(model, batch), want)
            assert handle.plan.num_slots == 112 + self.folder.prefix

    def test_inside_parallel_wrappers(self, model: Any, batch: dict[str, Tensor]) -> None:
        wrapped = torch.nn.DataParallel(model)
        with self.patch(model, "20x4"):
            want = flat(model, batch)
        for target in (wrapped, torch.nn.DataParallel(wrapped)):
            with self.patch(target, "20x4"):
                assert equal(flat(wrapped, batch), want)

    def test_a_forward_depends_on_no_number(self, model: Any, batch: dict[str, Tensor]) -> None:
        want = [t.shape for t in flat(model, batch)]
        assert shapes_without_numbers(model, batch, lambda copied: self.patch(copied, "20x4")) == want

    def test_sizes_in_a_key_channel(self, model: Any, batch: dict[str, Tensor]) -> None:
        """What flash attention takes on a GPU gives what the mask gives."""
        with self.patch(model, "20x4", record=True) as handle:
            want, plan = flat(model, batch), handle.plan
            with using(attention="channel"):
                got = flat(model, batch)
            assert torch.equal(handle.plan.source_map, plan.source_map)
        for found, wanted in zip(got, want, strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)

    def test_one_graph_and_training_with_checkpoints(self, model: Any, batch: dict[str, Tensor]) -> None:
        model = copy.deepcopy(model)
        vit = self.folder.vit(model)
        torch._dynamo.reset()
        with self.patch(model, "20x2"):
            compiled = torch.compile(model.encode, fullgraph=True, backend="eager")
            torch.testing.assert_close(
                compiled(batch["img"]), model.encode(batch["img"]), atol=1e-4, rtol=1e-4
            )
            gradients = []
            for recompute in (False, True):
                vit.train()
                vit.use_checkpoint = recompute
                model.zero_grad()
                torch.manual_seed(0)
                model(batch)[self.folder.vertices].square().sum().backward()
                gradients.append(vit.blocks[0].attn.qkv.weight.grad.clone())
        want, got = gradients  # blocks one by one give all tokens back in between: other sums, other rounding
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))
