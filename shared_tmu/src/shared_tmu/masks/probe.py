"""A linear read-out of the tokens that enter an early block: does a token show the subject?

It needs no detector and no picture, and costs one product of a vector with each token. It belongs to the
weights that it was trained for: `python -m shared_tmu.training.probe` trains one for any checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from shared_tmu.blocks.parts import Block
from shared_tmu.errors import CheckpointError, PatchError
from shared_tmu.files import shortened
from shared_tmu.files.checkpoints import read_checkpoint, read_metadata, save_safetensors
from shared_tmu.method_parts.read_masks import ReadMask
from shared_tmu.plans.matching import without_autocast

KIND = "tmu-token-probe-1"
_ABOUT = "about"


@dataclass(frozen=True)
class ProbeFacts:
    """What a file says about a probe.

    Attributes:
        model: name of the model that it reads.
        weights: `weights_before` of it, without which the probe means nothing.
        measured: what it was measured to do, plain values: `auc`, `recall`, ...
    """

    model: str
    weights: str
    measured: Mapping[str, Any]


class TokenProbe(ReadMask):
    """How sure it is that tokens show the subject: the sigmoid of `x @ weight + bias`, 0 to 1.

    Args:
        weight: one number per channel, `[C]`.
        bias: a number.
        block: its tokens are read as they enter it.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, block: int = 0) -> None:
        super().__init__(block)
        self.register_buffer("weight", weight.float())
        self.register_buffer("bias", bias.float())

    def score(self, x: Tensor) -> Tensor:
        """Logarithm of the odds that a token shows the subject: `[B, M, C]` to `[B, M]`.

        Raises:
            PatchError: tokens of another width.
        """
        if x.shape[-1] != len(self.weight):
            raise PatchError(
                f"this probe reads tokens of {len(self.weight)} channels, but the ViT's have {x.shape[-1]}: "
                "train one for it with python -m shared_tmu.training.probe."
            )
        with without_autocast(x.device):
            return x.float() @ self.weight.float() + self.bias.float()

    def require_fit(self, facts: ProbeFacts, vit: nn.Module, path: Path) -> None:
        """See that a probe was trained for these weights.

        Raises:
            CheckpointError: it was not, so that its mask would mean nothing.
        """
        if weights_before(vit, self.block) != facts.weights:
            raise CheckpointError(
                f"the probe {path} was trained for other weights ({facts.model}), so its mask would have no "
                "meaning: train one for these with python -m shared_tmu.training.probe, or use another "
                "--mask."
            )

    @classmethod
    def for_model(cls, path: Path, vit: nn.Module) -> Self:
        """Read a probe for these weights.

        Args:
            path: what `save` wrote.
            vit: the ViT that it reads.

        Raises:
            CheckpointError: it is no such file, damaged, or was trained for other weights.
            MissingAssetError: there is none.
        """
        probe, facts = cls.load(path)
        probe.require_fit(facts, vit, path)
        return probe

    @torch.no_grad()
    def forward(
        self, x: Tensor, block: Block, before: Tensor | None = None, live: Tensor | None = None
    ) -> Tensor:
        """See `ReadMask`."""
        return self.score(x).sigmoid()

    def save(self, path: Path, facts: ProbeFacts) -> None:
        """Write it as safetensors."""
        about = {"model": facts.model, "weights": facts.weights, "block": self.block}
        told = json.dumps({**about, "measured": dict(facts.measured)})
        save_safetensors(self.state_dict(), path, {"kind": KIND, _ABOUT: told})

    @classmethod
    def load(cls, path: Path) -> tuple[Self, ProbeFacts]:
        """Read what `save` wrote; `for_model` also sees that it fits.

        Raises:
            CheckpointError: it is not such a file, or damaged.
            MissingAssetError: there is none.
        """
        tensors, metadata = read_checkpoint(path), read_metadata(path)
        if metadata.get("kind") != KIND:
            raise CheckpointError(
                f"{path} is not a probe ({shortened(repr(metadata.get('kind')), 40)} instead of {KIND!r}): "
                "python -m shared_tmu.training.probe writes one."
            )
        try:
            about = json.loads(metadata[_ABOUT])
            facts = ProbeFacts(str(about["model"]), str(about["weights"]), dict(about["measured"]))
            weight, bias, block = tensors["weight"], tensors["bias"], about["block"]
            if weight.ndim != 1 or bias.ndim != 0 or type(block) is not int or block < 0:
                raise ValueError(f"weight {list(weight.shape)}, bias {list(bias.shape)}, block {block!r}")
            if not (weight.isfinite().all() and bias.isfinite()):
                raise ValueError("numbers that are not finite")
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise CheckpointError(
                f"{path} is a damaged probe ({shortened(str(error), 80)}): train it again with python -m "
                "shared_tmu.training.probe."
            ) from error
        return cls(weight, bias, block), facts


def weights_before(vit: nn.Module, block: int) -> str:
    """SHA-256 of the weights that patch tokens pass before a block, in the precision of bfloat16.

    A probe fits these weights only. In that precision the digest of a model is the same in float32 and
    bfloat16.
    """
    passed = ("patch_embed.", "pos_embed", *(f"blocks.{number}." for number in range(block)))
    digest = hashlib.sha256()
    for name, tensor in sorted(vit.state_dict().items()):
        if name.startswith(passed):
            values = tensor.detach().cpu().to(torch.bfloat16).contiguous()
            digest.update(f"{name} {tuple(values.shape)}\n".encode())
            digest.update(values.flatten().view(torch.int16).numpy().tobytes())
    return digest.hexdigest()
