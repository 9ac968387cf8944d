"""A model under measurement, and its variants: patched or not, its slicing floor, in any dtype."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared_tmu.bench.costs import peak_memory_mib
from shared_tmu.bench.floor import make_floor
from shared_tmu.bench.runtimes import Call, find_runtime
from shared_tmu.errors import InputError
from shared_tmu.method_parts.restores import COPY
from shared_tmu.methods import count_tokens
from shared_tmu.patching.container import MergedBlocks
from shared_tmu.programs.flop_counter import count_flops
from shared_tmu.programs.identity import file_sha256
from shared_tmu.programs.learned_files import read_schedule
from shared_tmu.programs.program import Program
from shared_tmu.programs.random_models import share_weights
from shared_tmu.schedule import Schedule

SCOPES = ("model", "vit")
Arguments = tuple[Any, ...]


@dataclass(frozen=True)
class Variant:
    """One way to run the model.

    Args:
        dtype: dtype of weights and inputs.
        runtime: row of `RUNTIMES`.
        schedule: `off` leaves the model unpatched.
        is_floor: the slicing floor of that schedule.
    """

    dtype: torch.dtype
    runtime: str
    schedule: Schedule
    is_floor: bool = False

    @property
    def dtype_name(self) -> str:
        """The number format's name, such as `float32`."""
        return str(self.dtype).removeprefix("torch.")

    def floor(self) -> Variant:
        """The slicing floor of this variant."""
        return replace(self, is_floor=True)


@dataclass(frozen=True)
class FirstRun:
    """A variant that has run once.

    Args:
        call: runs it again.
        output: its output.
        memory_mib: see `peak_memory_mib`; None if torch cannot measure it.
    """

    call: Call
    output: Any
    memory_mib: float | None


class MeasuredModel:
    """A program's model at one size.

    Args:
        program: description of the model.
        size: one of its sizes.
        device: device on which everything runs.
        scope: `model` for the whole model, `vit` for only its backbone.
        method: row of `METHODS`.
        unmerge: whether the full sequence is restored after the last block.
        learned: file with the method's trained parts, for a method that learns.
        checkpoint: weights to measure instead; `size` is then what results call them.
        restore: row of `RESTORES`.

    Raises:
        InputError: the program has no such size.
        TMUError: the checkpoint cannot be loaded.
    """

    def __init__(
        self,
        program: Program,
        size: str,
        device: torch.device,
        scope: str = "model",
        method: str = "tome",
        unmerge: bool = True,
        learned: Path | None = None,
        checkpoint: Path | None = None,
        restore: str = COPY,
    ) -> None:
        if checkpoint is None and size not in program.sizes:
            raise InputError(f"{program.name} has no size {size!r}: use one of {', '.join(program.sizes)}.")
        assert scope in SCOPES
        self.program, self.size, self.device = program, size, device
        self.scope, self.method, self.unmerge = scope, method, unmerge
        self.learned, self.restore, self.checkpoint = learned, restore, checkpoint
        model = program.sizes[size]() if checkpoint is None else program.load_model(checkpoint)
        self._models = {torch.float32: model.eval().to(device)}

    def facts(self) -> dict[str, Any]:
        """The facts about the model that records contain."""
        return {
            "model": self.program.name,
            "size": self.size,
            "parameters": sum(p.numel() for p in self._models[torch.float32].parameters()),
            "scope": self.scope,
            "device": str(self.device),
            "method": self.method,
            "unmerge": self.unmerge,
            "restore": self.restore,
            "learned_sha256": _digest(self.learned),
            "checkpoint_sha256": _digest(self.checkpoint),
        }

    def running(self, method: str, restore: str = COPY, learned: Path | None = None) -> MeasuredModel:
        """The same model, on the same weights, with another method."""
        other = copy.copy(self)
        other.method, other.restore, other.learned = method, restore, learned
        return other

    def read_schedule(self, text: str) -> Schedule:
        """A value of `--r`, see `learned_files.read_schedule`."""
        return read_schedule(text, self.method, self.learned)

    def build(self, variant: Variant) -> nn.Module:
        """The model set up for a variant, with its own modules on shared weights."""
        if variant.dtype not in self._models:
            self._models[variant.dtype] = share_weights(self._models[torch.float32]).to(variant.dtype)
        model = share_weights(self._models[variant.dtype])
        if not variant.schedule.is_off:
            options = {"unmerge": self.unmerge, "restore": self.restore}
            handle = self.program.patch(model, variant.schedule, self.method, **options)
            if self.learned is not None:
                handle.load_learned(self.learned)
        if variant.is_floor and not variant.schedule.is_off:
            make_floor(model)
        return model

    def target(self, variant: Variant, batch_size: int) -> tuple[nn.Module, Arguments]:
        """The module that is timed, and its arguments."""
        model = self.build(variant)
        batch = {n: v.to(self.device) for n, v in self.program.estimates.crops(model, batch_size).items()}
        if self.scope == "model":
            return model, (batch,)
        backbone = self.program.estimates.vit(model)
        return backbone, catch_arguments(backbone, lambda: model(batch))

    def prepare(self, variant: Variant, batch_size: int) -> Call:
        """A function that runs the variant on its own batch, under `torch.inference_mode`.

        Raises:
            InputError: there is no such runtime, or it does not work on this device.
        """
        runtime = find_runtime(variant.runtime, self.device)
        module, arguments = self.target(variant, batch_size)
        with torch.inference_mode():
            return runtime.prepare(module, arguments, variant.schedule)

    def run_first(self, variant: Variant, batch_size: int) -> FirstRun:
        """Prepare the variant, run it once, and measure how much memory this takes; see `prepare`."""
        calls: list[Call] = []
        outputs: list[object] = []

        def prepare() -> None:
            calls.append(self.prepare(variant, batch_size))

        def run() -> None:
            with torch.inference_mode():
                outputs.append(calls[0]())

        def prepare_and_run() -> None:
            prepare()
            run()

        if self.device.type == "cuda":  # a graph allocates its memory when it is captured
            memory = peak_memory_mib(prepare_and_run, self.device)
        else:
            prepare()
            if find_runtime(variant.runtime, self.device).is_torch:
                memory = peak_memory_mib(run, self.device)
            else:
                run()
                memory = None
        return FirstRun(calls[0], outputs[0], memory)

    def count_flops(self, schedule: Schedule) -> int:
        """FLOPs of one image if merging itself were free; see `flop_counter.count_flops`."""
        module, arguments = self.target(Variant(torch.float32, "eager", schedule, is_floor=True), 1)
        with torch.inference_mode():
            return count_flops(lambda: module(*arguments))

    def count_tokens(self, schedule: Schedule) -> list[int]:
        """Tokens of an image before the first block and after each.

        Raises:
            ScheduleError: the schedule is for more layers than the model has.
        """
        depth, tokens, prefix = self._trunk
        return count_tokens(self.method, schedule, depth, tokens, prefix)

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return self._trunk[0]

    @cached_property
    def _trunk(self) -> tuple[int, int, int]:
        """Number of blocks, of tokens that enter them, and of prefix tokens."""
        model = share_weights(self._models[torch.float32])
        handle = self.program.patch(model, Schedule.parse("off"), self.method)
        blocks = next(module for module in model.modules() if isinstance(module, MergedBlocks))
        batch = {n: v.to(self.device) for n, v in self.program.estimates.crops(model, 1).items()}
        # with nothing to merge, this is the block itself
        (x,) = catch_arguments(blocks[0], lambda: model(batch))
        handle.remove()
        return len(blocks), int(x.shape[1]), blocks.settings.num_prefix_tokens


def _digest(file: Path | None) -> str | None:
    """What tells a file from others of its name; None for none, as in records from before it was kept."""
    return None if file is None else file_sha256(file)


class _Caught(Exception):
    """Ends a forward pass as soon as a module's arguments are known."""


def catch_arguments(module: nn.Module, run: Callable[[], object]) -> Arguments:
    """The positional arguments of the first call of `module` inside `run`, which is ended there."""
    caught: list[Arguments] = []

    def catch(_: nn.Module, arguments: Arguments) -> None:
        caught.append(tuple(a.clone() if isinstance(a, Tensor) else a for a in arguments))
        raise _Caught

    hook = module.register_forward_pre_hook(catch)
    try:
        with torch.inference_mode():
            run()
    except _Caught:
        return caught[0]
    finally:
        hook.remove()
    raise InputError(f"{type(module).__name__} is never called by its model: --scope vit cannot time it.")
