"""`tmu.patch` of a folder on its own model: the baseline back, and task tokens left alone."""

import copy
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_flatten

from shared_tmu import METHODS
from shared_tmu.errors import PatchError

from .hands import HandFolder

SCHEDULES = ("20x4", "8", "30x2+1x2", "10@-1", "96x4")


def flat(model: Any, batch: dict[str, Tensor]) -> list[Tensor]:
    """Everything the model says."""
    with torch.no_grad():
        return tree_flatten(model(batch))[0]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    """Bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


class PatchSuite:
    """What patching does to a hand model of four blocks."""

    hands: ClassVar[HandFolder]

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> Any:
        return cls.hands.tiny(depth=4)

    @pytest.fixture(scope="class")
    @classmethod
    def batch(cls) -> dict[str, Tensor]:
        return {"img": torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(1))}

    @property
    def patch(self) -> Any:
        return self.hands.tmu.patch

    @pytest.mark.parametrize("method", METHODS)
    def test_off_and_removal_are_the_baseline(
        self, model: Any, batch: dict[str, Tensor], method: str
    ) -> None:
        want, keys = flat(model, batch), list(model.state_dict())
        with self.patch(model, "off", method):
            assert equal(flat(model, batch), want)
            assert list(model.state_dict()) == keys
        with self.patch(model, "20x4", method):
            got = flat(model, batch)
            assert [t.shape for t in got] == [t.shape for t in want]
            assert not equal(got, want)
        assert equal(flat(model, batch), want)

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("schedule", SCHEDULES)
    def test_task_tokens_keep_their_place_after_every_block(
        self, model: Any, batch: dict[str, Tensor], method: str, schedule: str
    ) -> None:
        prefix = self.hands.prefix
        with self.patch(model, schedule, method, record=True) as handle:
            model(batch)
            assert handle.plans
            for plan in handle.plans:
                first = torch.arange(prefix).expand(2, -1)
                assert torch.equal(plan.source_map[:, :prefix], first)  # their own slots, in order
                assert (plan.source_map[:, prefix:] >= prefix).all()  # and nobody else's
                assert (plan.sizes()[:, :prefix] == 1).all()

    def test_the_vit_alone_and_copies(self, model: Any, batch: dict[str, Tensor]) -> None:
        with self.patch(model, "20x4") as handle:
            want = flat(model, batch)
            assert equal(flat(copy.deepcopy(model), batch), want)
            with pytest.raises(PatchError, match="already patched with '20x4'"):
                self.patch(model.backbone, "5x4")
            handle.r = "off"
        with self.patch(model.backbone, "20x4", record=True) as handle:
            assert equal(flat(model, batch), want)
            assert handle.plan.num_slots == 112 + self.hands.prefix

    def test_inside_parallel_wrappers(self, model: Any, batch: dict[str, Tensor]) -> None:
        wrapped = torch.nn.DataParallel(model)
        with self.patch(model, "20x4"):
            want = flat(model, batch)
        with self.patch(wrapped, "20x4"):
            assert equal(flat(wrapped, batch), want)

    def test_a_forward_depends_on_no_number(self, model: Any, batch: dict[str, Tensor]) -> None:
        """Fake tensors have none: what waits for a GPU, and cannot be captured in a graph, raises."""
        model, mode = copy.deepcopy(model), FakeTensorMode()
        want = [t.shape for t in flat(model, batch)]
        with self.patch(model, "20x4"):
            for module in model.modules():
                for tensors in (module._parameters, module._buffers):
                    for name, tensor in tensors.items():
                        tensors[name] = None if tensor is None else mode.from_tensor(tensor)
            with mode:
                got = flat(model, {name: mode.from_tensor(tensor) for name, tensor in batch.items()})
        assert [t.shape for t in got] == want

    def test_one_graph_and_training_with_checkpoints(self, model: Any, batch: dict[str, Tensor]) -> None:
        model = copy.deepcopy(model)
        torch._dynamo.reset()
        with self.patch(model, "20x2"):
            images = batch["img"][..., 32:-32]
            compiled = torch.compile(model.backbone, fullgraph=True, backend="eager")
            torch.testing.assert_close(compiled(images), model.backbone(images), atol=1e-4, rtol=1e-4)
            gradients = []
            for recompute in (False, True):
                model.backbone.train()
                model.backbone.use_checkpoint = recompute
                model.zero_grad()
                torch.manual_seed(0)
                model(batch)["pred_vertices"].square().sum().backward()
                gradients.append(model.backbone.blocks[0].attn.qkv.weight.grad.clone())
        torch.testing.assert_close(*gradients)
