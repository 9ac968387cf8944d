"""Checks that a block computes what merging assumes: x + attn(norm1(x)), then x + mlp(norm2(x)).

The parts alone do not distinguish a pre-norm block from one that normalises after attention, attends in
windows or adds its own bias, so outputs are compared. Every block that differs from the blocks before it in
structure, in settings or by a method replaced on the instance is run separately.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import PatchError
from .arguments import Defaults, read_defaults
from .halves import attention_half, find_misfit, mlp_half
from .parts import Block, is_sequence_first, parts_of, replaced_modules
from .positions import NOTHING, ROTARY, Given, has_own_bias, locate
from .probing import has_numbers, leaving_no_trace, random_tokens, randomise
from .state import WITHOUT_EFFECT, BlockState

_TOKENS = 49  # a square number, for blocks that require it
_MOST_TOKENS = 256


class BlockCheck:
    """The checked blocks of a trunk; detects when one has changed since.

    Args:
        blocks: blocks of the trunk.
        shape: tokens and channels that enter them, None if unknown.
        given: positions that the model gives them.

    Attributes:
        defaults: arguments of each block besides tokens.
        given: the same positions; while merging, blocks are given these arguments and no others.
        is_sequence_first: whether the blocks take tokens as `[N, B, C]`.

    Raises:
        PatchError: a block computes something else; the message gives its number.
    """

    def __init__(
        self, blocks: Sequence[nn.Module], shape: tuple[int, int] | None = None, given: Given = NOTHING
    ) -> None:
        self._shape, self.given = shape, given
        self.is_sequence_first = bool(blocks) and is_sequence_first(blocks[0])
        self.defaults: list[Defaults] = []
        self._seen: list[BlockState] = []
        self._busy: set[tuple[int, int]] = set()  # blocks being checked, by number and thread
        verified = set()
        for number, block in enumerate(blocks):
            kind = describe_structure(block)
            if kind not in verified:
                self._verify(number, block)
                verified.add(kind)
            self._seen.append(BlockState(block))
            self.defaults.append(read_defaults(block))

    def again(self, number: int, block: nn.Module) -> bool:
        """Check a block again if anything in it or its attention was replaced meanwhile; returns whether it
        was.

        Raises:
            PatchError: it computes something else now.
        """
        if self._seen[number].still_holds(block):
            return False
        busy = (number, threading.get_ident())
        if busy in self._busy:  # a forward that is bound to a step of a run would call that step again
            raise PatchError(
                f"block {number} was given a forward that calls the patched ViT to which the block belongs: "
                "assign a function that uses only the block's own parts."
            )
        self._busy.add(busy)
        try:
            self._verify(number, block)
        finally:
            self._busy.discard(busy)
        self._seen[number], self.defaults[number] = BlockState(block), read_defaults(block)
        return True

    def _verify(self, number: int, block: nn.Module) -> None:
        try:
            if _is_sharded(block):
                raise PatchError(
                    f"the weights of {type(block).__name__} are spread over processes: patch first, then "
                    "fully_shard the model as a whole, not its blocks."
                )
            if misfit := find_misfit(block):
                raise PatchError(f"{type(block).__name__} is not a ViT block that merging knows: {misfit}.")
            if is_sequence_first(block) != self.is_sequence_first:
                raise PatchError("it takes tokens in another order, [N, B, C] or [B, N, C], than block 0.")
            verify_block(block, self._shape, self.given)
        except PatchError as error:
            raise PatchError(f"block {number}: {error}") from error


def _is_sharded(module: nn.Module) -> bool:
    """Whether weights are spread over processes; avoids an import that takes seconds."""
    sharded = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", ())
    return any(isinstance(p, sharded) for p in module.parameters())


def describe_structure(module: nn.Module) -> tuple[Any, ...]:
    """The structure of a module without its weights: equal for two modules that compute the same from equal
    weights.

    Objects that are neither modules, tensors nor plain values count as different unless they are the same.
    """
    return tuple(_describe_part(name, part) for name, part in module.named_modules(remove_duplicate=False))


def _describe_part(name: str, part: nn.Module) -> tuple[Any, ...]:
    tensors = [*part._parameters.items(), *part._buffers.items()]
    shapes = tuple((key, None if t is None else (*t.shape, t.dtype)) for key, t in tensors)
    values = tuple(
        (key, _describe_value(value))
        for key, value in sorted(vars(part).items())
        if key not in WITHOUT_EFFECT and (not key.startswith("_") or callable(value))
    )
    return name, type(part), shapes, values


def _describe_value(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str | torch.dtype):
        return value
    if isinstance(value, tuple | list | torch.Size):
        return tuple(_describe_value(v) for v in value)
    return id(value)


def verify_block(block: Block, shape: tuple[int, int] | None = None, given: Given = NOTHING) -> None:
    """Compare the block's own forward with its two halves, with random weights where possible: they must
    agree.

    It is run on the CPU in float32 if that works, else on its own device in its own dtype, and left
    unchanged.

    Args:
        block: a block for which `find_misfit` returns None; on the meta device it is not compared.
        shape: tokens and channels that enter it, None if unknown.
        given: positions that the model gives it.

    Raises:
        PatchError: the block computes something else, or cannot be run on tokens alone.
    """
    if not has_numbers(block):
        return
    kind = type(block).__name__
    if needed := [name for name in find_needed_arguments(block) if name not in given]:
        raise PatchError(
            f"the forward of {kind} needs {', '.join(needed)} besides tokens, which merging does not pass: "
            "this block cannot be used."
        )
    reasons = []
    for x, weights in _attempts(block, shape):
        with leaving_no_trace(block):
            if weights is not None:
                randomise(block, *weights)
            try:
                here = {name: position.to(x.device) for name, position in given.items()}
                want = _forward(block, x, here)
            except Exception as error:
                reasons.append(f"{type(error).__name__}: {error}")
                continue
            got = _run_halves(block, x, here)
            if not isinstance(want, Tensor) or got is None or not _agree(block, x, want, got):
                raise PatchError(
                    f"{kind} has the parts of a pre-norm ViT block, but does not compute x + attn(norm1(x)), "
                    f"then x + mlp(norm2(x)){_say_use(given)}: merging inside it would change what the model "
                    "is."
                )
            return
    raise PatchError(
        f"{kind} could not be run on tokens [B, N, C] to check what it computes: {'; '.join(reasons[:1])}"
    )


def _run_halves(block: Block, x: Tensor, given: Given) -> Tensor | None:
    """What merging computes, without merging anything; None for positions that are not understood."""
    try:
        where = locate(parts_of(block).attn, given)
        return mlp_half(block, attention_half(block, x, where=where)[0])
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        if given or has_own_bias(parts_of(block).attn):
            return None
        raise


def _say_use(given: Given) -> str:
    """How positions that the model gives its blocks are taken."""
    uses = {name: "a rotary embedding" if name == ROTARY else "a bias of the logits" for name in given}
    return "".join(f", with its argument {name} as {use} besides tokens" for name, use in uses.items())


def _forward(block: nn.Module, x: Tensor, given: Given) -> Any:
    """The block's own forward: `[B, N, C]` to the same, whichever order it takes."""
    is_turned = is_sequence_first(block)
    out = vars(block).get("forward", block.forward)(x.transpose(0, 1) if is_turned else x, **given)
    return out.transpose(0, 1) if is_turned and isinstance(out, Tensor) else out


def find_needed_arguments(block: nn.Module) -> list[str]:
    """Names of required arguments of a block's forward besides the tokens."""
    return [name for name, is_needed in _other_arguments(block).items() if is_needed]


def find_positions(block: nn.Module) -> list[str]:
    """Names of the arguments through which a block's forward gets positions, and of its required
    arguments."""
    starts, ends = ("rope", "rot", "rel_pos", "pos_"), ("_rope", "_rel_pos", "_pos")
    return [
        name
        for name, is_needed in _other_arguments(block).items()
        if is_needed or name == "pos" or name.startswith(starts) or name.endswith(ends)
    ]


def takes_more_than_tokens(block: nn.Module) -> bool:
    """Whether a block's forward accepts anything besides tokens."""
    return bool(_other_arguments(block))


def _other_arguments(block: nn.Module) -> dict[str, bool]:
    try:
        first, *others = inspect.signature(block.forward).parameters.values()
    except (TypeError, ValueError):  # not written in Python, or takes nothing
        return {}
    if first.kind is first.VAR_POSITIONAL:
        others = [first, *others]
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {p.name: p.default is p.empty and p.kind not in variable for p in others}


def _attempts(
    block: Block, shape: tuple[int, int] | None
) -> Iterator[tuple[Tensor, tuple[torch.device | None, torch.dtype | None] | None]]:
    """Test tokens, with device and dtype of the random weights to use with them, or None for the block's
    own."""
    counts = [_TOKENS] if shape is None else sorted({min(shape[0], _MOST_TOKENS), shape[0]})
    own = next(iter([*block.parameters(), *block.buffers()]), torch.zeros(()))
    cpu = torch.empty(0, device="cpu", dtype=torch.float32)
    for channels in guess_channels(block, shape):
        for count in counts:
            yield random_tokens(2, count, channels, cpu), (cpu.device, cpu.dtype)
            yield random_tokens(2, count, channels, own), (None, None)
            yield random_tokens(2, count, channels, own), None


def guess_channels(block: Block, shape: tuple[int, int] | None = None) -> list[int]:
    """Likely numbers of channels, the most likely first."""
    guesses = [] if shape is None else [shape[1]]
    block = parts_of(block)
    for norm in (block.norm1, block.norm2):
        guesses += list(getattr(norm, "normalized_shape", ()))[-1:]
        guesses += [p.shape[-1] for p in norm.parameters() if p.ndim]
    whole = replaced_modules(block)[".attn"]
    for part in whole.modules():
        guesses += [n for n in (getattr(part, "in_features", None),) if isinstance(n, int)]
    guesses += [p.shape[-1] for p in whole.parameters() if p.ndim == 2]
    return list(dict.fromkeys(guesses))


def _agree(block: Block, x: Tensor, want: Tensor, got: Tensor) -> bool:
    if want.shape != got.shape:
        return False
    if want.dtype == torch.float32 and torch.allclose(want, got, rtol=1e-3, atol=1e-3):
        return True
    if want.dtype == torch.float32 and not _rounds(block):
        return False
    want, got, x = want.float(), got.float(), x.float()
    return bool((got - want).norm() <= 0.03 * (want - x).norm())


def _rounds(block: nn.Module) -> bool:
    """Whether something inside quantises, so that nearly equal values may differ by one step in the
    result.
    """
    return any("quant" in type(part).__module__.lower() for part in block.modules()) or any(
        not p.is_floating_point() for p in block.parameters()
    )
