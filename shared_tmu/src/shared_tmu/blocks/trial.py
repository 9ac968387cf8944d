"""Tries a block out: it must compute what merging assumes, x + attn(norm1(x)), then x + mlp(norm2(x)).

The parts alone do not distinguish a pre-norm block from one that normalises after attention, attends in
windows or adds its own bias, so outputs are compared; and no part besides attention may mix tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import PatchError
from .arguments import find_needed_arguments
from .halves import attention_half, mlp_half
from .parts import Block, is_sequence_first, parts_of, replaced_modules
from .positions import NOTHING, ROTARY, Given, has_own_bias, locate
from .probing import has_numbers, leaving_no_trace, random_tokens, randomise
from .tokenwise import find_mixing
from .training_mode import TrainingNote, compare_in_training

_TOKENS = 49  # a square number, for blocks that require it
_MANY_TOKENS = 521  # a prime number, which no windows divide
_SIDES = (8, 14, 16, 20, 24, 28, 32)  # of square grids that the usual windows divide, for blocks in windows
_MOST_TOKENS = 1024  # with more, attention needs much memory and time
_ROUNDING = 0.03  # of what a block adds to its tokens, if something in it quantises
_RANGE = 0.2  # the same for a part, whose steps may be chosen by the range of all tokens that it gets


def verify_block(
    block: Block, shape: tuple[int, int] | None = None, given: Given = NOTHING
) -> TrainingNote | None:
    """Compare the block's own forward with its two halves, with random weights where possible: they must
    agree, for several numbers of tokens, because attention in windows is global while there is only one.

    It is run on the CPU in float32 if that works, else on its own device in its own dtype, and left
    unchanged.

    Args:
        block: a block for which `find_misfit` returns None; on the meta device it is not compared.
        shape: tokens and channels that enter it, None if unknown.
        given: positions that the model gives it.

    Returns:
        What it does in training mode that merging does not; None if nothing.

    Raises:
        PatchError: in eval mode, the block computes something else, or it cannot be run on tokens alone.
    """
    if not has_numbers(block):
        return None
    kind = type(block).__name__
    if needed := [name for name in find_needed_arguments(block) if name not in given]:
        raise PatchError(
            f"the forward of {kind} needs {', '.join(needed)} besides tokens, which merging does not pass: "
            "this block cannot be used."
        )
    reasons: list[str] = []
    for like, channels, weights in _attempts(block, shape):
        with leaving_no_trace(block):
            if weights is not None:
                randomise(block, *weights)
            trial = _Trial(block, like, channels, given, reasons)
            if trial.compare_all(None if shape is None else shape[0]):
                trial.refuse_mixing()
                return trial.compare_in_training()
    raise PatchError(
        f"{kind} could not be run on tokens [B, N, C] to check what it computes: {'; '.join(reasons[:1])}"
    )


class _Trial:
    """A block inside `leaving_no_trace`, run on random tokens.

    Args:
        block: the block.
        like: tensor with the device and dtype of the tokens.
        channels: C.
        given: positions that the model gives it.
        reasons: receives why the block could not be run.
    """

    def __init__(self, block: Block, like: Tensor, channels: int, given: Given, reasons: list[str]) -> None:
        self._block, self._like, self._channels, self._reasons = block, like, channels, reasons
        self._given = {name: position.to(like.device) for name, position in given.items()}
        self._agreed: list[int] = []  # numbers of tokens

    def compare_all(self, count: int | None) -> bool:
        """Compare for several numbers of tokens; returns whether the block could be run.

        Args:
            count: number of tokens that the model gives it; None if unknown.
        """
        first = _TOKENS if count is None or count > _MOST_TOKENS else count
        runs = self._compare([first])
        if first == count and not runs:
            return False
        if not self._given and not has_own_bias(parts_of(self._block).attn):  # these fit one number of tokens
            front = 0 if count is None else count - math.isqrt(count) ** 2
            runs |= self._compare([_MANY_TOKENS]) or self._compare(front + side**2 for side in _SIDES)
        return runs or (count is not None and self._compare([count]))

    def refuse_mixing(self) -> None:
        """Refuse a block in which more than attention mixes tokens.

        Raises:
            PatchError: there is such a part.
        """
        block = self._block
        mixing = find_mixing(block, self._draw(min(self._agreed)), partial(_agree, block, rounding=_RANGE))
        if mixing is not None:
            raise PatchError(
                f"{mixing} of {type(block).__name__} mixes tokens, or fits only one number of them: once "
                "some have merged it would mix the wrong ones. Only attention may mix tokens."
            )

    def compare_in_training(self) -> TrainingNote | None:
        """What the block does in training mode that merging does not; None if nothing."""
        block, given, x = self._block, self._given, self._draw(min(self._agreed))
        own, halves = partial(_forward, block, x, given), partial(_run_halves, block, x, given)
        return compare_in_training(block, x, own, halves, partial(_agree, block, before=x))

    def _compare(self, counts: Iterable[int]) -> bool:
        """Compare for these numbers of tokens; returns whether the block could be run with any of them."""
        ran = [self._agrees(count) for count in counts]
        return any(ran)

    def _draw(self, count: int) -> Tensor:
        return random_tokens(2 if count <= 256 else 1, count, self._channels, self._like)

    def _agrees(self, count: int) -> bool:
        """Whether the block could be run on that many tokens; then it must agree.

        Raises:
            PatchError: it computes something else.
        """
        block, given = self._block, self._given
        x = self._draw(count)
        try:
            want = _forward(block, x, given)
        except Exception as error:
            self._reasons.append(f"{type(error).__name__}: {error}")
            return False
        got = _run_halves(block, x, given)
        if isinstance(want, Tensor) and got is not None and _agree(block, want, got, x):
            self._agreed.append(count)
            return True
        kind, formula = type(block).__name__, "x + attn(norm1(x)), then x + mlp(norm2(x))"
        if self._agreed:
            raise PatchError(
                f"{kind} computes {formula}, with {self._agreed[0]} tokens but not with {count}: it attends "
                "in windows, or depends on their number in another way, which merging would ignore."
            )
        raise PatchError(
            f"{kind} has the parts of a pre-norm ViT block, but does not compute {formula}{_say_use(given)}: "
            "merging inside it would change what the model is."
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


def _attempts(
    block: Block, shape: tuple[int, int] | None
) -> Iterator[tuple[Tensor, int, tuple[torch.device | None, torch.dtype | None] | None]]:
    """A tensor with device and dtype of the test tokens, their channels, and device and dtype of the random
    weights to use with them, or None for the block's own."""
    own = next(iter([*block.parameters(), *block.buffers()]), torch.zeros(()))
    cpu = torch.empty(0, device="cpu", dtype=torch.float32)
    for channels in guess_channels(block, shape):
        yield cpu, channels, (cpu.device, cpu.dtype)
        yield own, channels, (None, None)
        yield own, channels, None


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


def _agree(
    block: Block, want: Tensor, got: Tensor, before: Tensor | None = None, rounding: float = _ROUNDING
) -> bool:
    """Whether two outputs are equal up to rounding; `before` are the tokens that they change, if any."""
    if want.shape != got.shape:
        return False
    if want.dtype == torch.float32 and torch.allclose(want, got, rtol=1e-3, atol=1e-3):
        return True
    if want.dtype == torch.float32 and not _rounds(block):
        return False
    want, got = want.float(), got.float()
    change = want if before is None else want - before.float()
    return bool((got - want).norm() <= rounding * change.norm())


def _rounds(block: nn.Module) -> bool:
    """Whether something inside quantises, so that nearly equal values may differ by one step in the
    result.
    """
    return any("quant" in type(part).__module__.lower() for part in block.modules()) or any(
        not p.is_floating_point() for p in block.parameters()
    )
