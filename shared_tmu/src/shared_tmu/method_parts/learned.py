"""The learned module of a method: kept separately from the model, with its own files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ..blocks.parts import parts_of
from ..errors import CheckpointError, PatchError
from ..limits import shown

_PER_BLOCK = 8
_ROUNDING = 2.0**-7, 1e-4  # relative and absolute: of float16 and bfloat16


@dataclass(frozen=True)
class LearnedFacts:
    """What a file says about learned parts.

    Attributes:
        method: row of the table.
        trunk: `mark_trunk` of the model for which they were trained.
        schedule: what was learned, as a schedule; empty for methods that learn something else.
        model: name of the model; empty if it does not say.
        recipe: the training, as JSON.
    """

    method: str
    trunk: Sequence[float] = ()
    schedule: str = ""
    model: str = ""
    recipe: str = ""

    @classmethod
    def read(cls, path: Path) -> LearnedFacts:
        """The facts in a file.

        Raises:
            MissingAssetError: there is none.
            CheckpointError: it has no learned parts of a method.
        """
        from ..files.checkpoints import read_metadata

        found = read_metadata(path)
        if "method" not in found:
            raise CheckpointError(
                f"{path} does not hold the learned parts of a method: name a file of handle.save_learned, or "
                "of train.py --config-name learned."
            )
        try:
            trunk = [float(value) for value in json.loads(found.get("trunk", "[]"))]
            if not all(map(math.isfinite, trunk)):
                raise ValueError("numbers that are not finite")
        except (TypeError, ValueError, RecursionError) as error:
            raise _unmarked(path) from error
        texts = {name: found.get(name, "") for name in ("method", "schedule", "model", "recipe")}
        return cls(trunk=trunk, **texts)

    def require(self, method: str, blocks: Iterable[nn.Module], path: Path) -> None:
        """See that a file was trained for a method and for these blocks.

        Raises:
            CheckpointError: it was not, so that it would mean nothing.
        """
        wanted = method.partition(":")[0]
        if self.method.partition(":")[0] != wanted:
            raise CheckpointError(
                f"{path} holds the learned parts of method {shown(self.method, 40)!r}, not of {wanted!r}: "
                "choose that method, or another file."
            )
        if not self.trunk:
            raise _unmarked(path)
        if not _is_near(self.trunk, mark_trunk(blocks)):
            of_model = f" of {shown(self.model, 40)}" if self.model else ""
            raise CheckpointError(
                f"{path} was trained for other weights{of_model}, for which alone it has a meaning: train "
                "one for these with train.py --config-name learned, or use the method untrained (--learned "
                "none)."
            )


def _unmarked(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} is damaged: it does not say to which weights it belongs.")


def mark_trunk(blocks: Iterable[nn.Module]) -> list[float]:
    """A few numbers of every block, from its biases and norms, by which weights are recognised."""
    found = []
    for block in blocks:
        small = [p.detach().flatten() for p in block.parameters() if p.ndim <= 1]
        row = torch.cat(small or [p.detach().flatten() for p in block.parameters()]).float().cpu()
        found += row[torch.linspace(0, len(row) - 1, _PER_BLOCK).long()].tolist()
    return [float(f"{value:.4g}") for value in found]


def _is_near(wanted: Sequence[float], found: Sequence[float]) -> bool:
    """Whether numbers agree up to a cast to float16 or bfloat16."""
    relative, absolute = _ROUNDING
    return len(wanted) == len(found) and all(
        math.isclose(a, b, rel_tol=relative, abs_tol=absolute) for a, b in zip(wanted, found, strict=True)
    )


def _compact(tensor: Tensor) -> Tensor:
    """The same numbers, in float16 if that holds all of them."""
    half = tensor.half()
    return half if tensor.dtype == torch.float32 and torch.equal(half.float(), tensor) else tensor


def make_learned(learn: Callable[[Sequence[nn.Module]], nn.Module], blocks: Sequence[nn.Module]) -> nn.Module:
    """The module of a method that learns, on the device of the blocks and in their dtype and mode.

    It is the same every time, and leaves the random generators of all devices as they are.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed all GPUs as well
        learned = learn([parts_of(block) for block in blocks])
    wanted = next(blocks[0].parameters())
    # only where it is needed: fake tensors refuse it even where it does nothing
    if any(p.device != wanted.device or p.dtype != wanted.dtype for p in learned.parameters()):
        learned = learned.to(wanted.device, wanted.dtype)
    return learned.train(blocks[0].training)


@dataclass(frozen=True)
class LearnedPart:
    """The module of a patched ViT, and what it belongs to.

    Attributes:
        method: its name.
        learned: the module; None for methods that learn nothing.
        blocks: the blocks that run with it.
    """

    method: str
    learned: nn.Module | None
    blocks: Sequence[nn.Module] = field(repr=False)

    def save(self, path: Path, facts: Mapping[str, str]) -> None:
        """Write it as safetensors; `facts` are fields of `LearnedFacts`.

        Raises:
            PatchError: there is none.
        """
        from ..files.checkpoints import save_safetensors

        module = self._require()
        skip = getattr(module, "scaffold", ())
        state = module.state_dict().items()
        tensors = {name: _compact(tensor) for name, tensor in state if name not in skip}
        about = {"method": self.method, "trunk": json.dumps(mark_trunk(self.blocks)), **facts}
        save_safetensors(tensors, path, about)

    def load(self, path: Path) -> None:
        """Read what `save` wrote.

        Raises:
            PatchError: there is none.
            CheckpointError: it is not such a file, or belongs to another method or model.
        """
        from ..files.checkpoints import read_checkpoint, tensors_of

        module = self._require()
        LearnedFacts.read(path).require(self.method, self.blocks, path)
        found, wanted = tensors_of(read_checkpoint(path)), module.state_dict()
        shapes = {name: list(tensor.shape) for name, tensor in found.items()}
        expected = {name: list(tensor.shape) for name, tensor in wanted.items()}
        if shapes != expected:
            wrong = sorted(
                name for name in shapes.keys() | expected.keys() if shapes.get(name) != expected.get(name)
            )
            raise CheckpointError(
                f"{path} does not contain the learned parts of method {self.method!r} for this model: "
                f"{wrong[0]!r} is {shapes.get(wrong[0], 'missing')}, expected "
                f"{expected.get(wrong[0], 'nothing of that name')} ({len(wrong)} such tensors)."
            )
        if bad := next((name for name, tensor in found.items() if not tensor.is_floating_point()), None):
            raise CheckpointError(
                f"{path} is damaged: {bad!r} has numbers of type {str(found[bad].dtype)[6:]}, not floats."
            )
        if bad := next((name for name, tensor in found.items() if not tensor.isfinite().all()), None):
            raise CheckpointError(f"{path} is damaged: {bad!r} has numbers that are not finite.")
        module.load_state_dict(found)

    def _require(self) -> nn.Module:
        if self.learned is None:
            raise PatchError(f"method {self.method!r} learns nothing, so there is nothing to save or load.")
        return self.learned
