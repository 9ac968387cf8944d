"""Stand-ins for the published classes, and what `tmu.patch` does to them: a user's own checkout.

The same attributes and the same way of running as the published code has, a tenth of the size: blocks attend
by an explicit softmax, the ViT adds the class token's position to every patch, may recompute its blocks, and
has a `train` that returns nothing.
"""

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten
from torch.utils.checkpoint import checkpoint

from shared_tmu.errors import PatchError

from .folders import ModelFolder

DIM = 32


class PublishedAttention(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attn_drop = nn.Dropout(0.0)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, channels = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        weights = self.attn_drop(((qkv[0] * self.scale) @ qkv[1].transpose(-2, -1)).softmax(dim=-1))
        return self.proj_drop(self.proj((weights @ qkv[2]).transpose(1, 2).reshape(batch, tokens, channels)))


class PublishedMlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)
        self.drop = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.act(self.fc1(x))))


class PublishedBlock(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.mlp = PublishedAttention(dim, num_heads), PublishedMlp(dim)
        self.drop_path = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PublishedViT(nn.Module):
    """What the published ViTs share; a subclass puts task tokens in front and takes them off again."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.use_checkpoint, self.depth = False, depth
        self.patch_embed = nn.Conv2d(3, DIM, 16, stride=16, padding=2)
        self.pos_embed = nn.Parameter(torch.randn(1, 193, DIM))
        self.blocks = nn.ModuleList(PublishedBlock(DIM, 4) for _ in range(depth))
        self.last_norm = nn.LayerNorm(DIM, eps=1e-6)

    def run(self, img: Tensor, tasks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Task tokens, and image tokens as a map."""
        x = self.patch_embed(img)
        batch, _, rows, columns = x.shape
        x = x.flatten(2).transpose(1, 2) + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        count = 0 if tasks is None else tasks.shape[1]
        if tasks is not None:
            x = torch.cat((tasks.expand(batch, -1, -1), x), dim=1)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.use_checkpoint else block(x)
        x = self.last_norm(x)
        return x[:, :count], x[:, count:].permute(0, 2, 1).reshape(batch, -1, rows, columns).contiguous()

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        """Returns nothing, as published."""
        super().train(mode)


class PublishedSuite:
    """The folder's `tmu.patch` on its published class."""

    folder: ClassVar[ModelFolder]
    says_task_tokens: ClassVar[str] = ""
    """An attribute without which the published ViT does not tell how many task tokens it has."""

    def published(self) -> Any:
        """The stand-in, with random weights; takes `batch`."""
        raise NotImplementedError

    @pytest.fixture
    def model(self) -> nn.Module:
        torch.manual_seed(0)
        model = self.published()
        model.eval()
        return model

    @pytest.fixture
    def batch(self) -> dict[str, Tensor]:
        return {"img": self.folder.images(2)}

    @staticmethod
    def outputs(model: nn.Module, batch: dict[str, Tensor]) -> list[Tensor]:
        with torch.no_grad():
            return tree_flatten(model(batch))[0]

    @pytest.mark.parametrize("wrap", [lambda model: model, nn.DataParallel], ids=["bare", "DataParallel"])
    def test_the_same_call_finds_the_task_tokens(self, model: Any, batch: Any, wrap: Any) -> None:
        model, prefix = wrap(model), self.folder.prefix
        want, keys = self.outputs(model, batch), list(model.state_dict())
        with self.folder.tmu.patch(model, "20x4", record=True) as handle:
            got, plan = self.outputs(model, batch), handle.plan
            assert list(model.state_dict()) == keys
        assert [t.shape for t in got] == [t.shape for t in want]
        assert not torch.equal(got[0], want[0])
        assert plan.num_slots == prefix + 112
        assert torch.equal(plan.source_map[:, :prefix], torch.arange(prefix).expand(2, -1))
        assert (plan.source_map[:, prefix:] >= prefix).all()
        assert all(torch.equal(a, b) for a, b in zip(self.outputs(model, batch), want, strict=True))

    def test_with_recomputed_blocks_too(self, model: Any, batch: Any) -> None:
        with self.folder.tmu.patch(model, "20x4"):
            want = self.outputs(model, batch)
            self.folder.vit(model).use_checkpoint = True
            got = self.outputs(model, batch)
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))

    def test_a_vit_that_does_not_say_is_asked_for_its_task_tokens(self, model: Any) -> None:
        if not self.says_task_tokens:
            assert not self.folder.prefix
            return
        vit = self.folder.vit(model)
        vit.renamed = getattr(vit, self.says_task_tokens)
        delattr(vit, self.says_task_tokens)
        asked = rf"{type(vit).__name__} does not tell how many task tokens .* pass num_prefix_tokens"
        with pytest.raises(PatchError, match=asked):
            self.folder.tmu.patch(nn.DataParallel(model), "20x4")
        with self.folder.tmu.patch(model, "20x4", num_prefix_tokens=self.folder.prefix) as handle:
            assert handle.num_prefix_tokens == self.folder.prefix
