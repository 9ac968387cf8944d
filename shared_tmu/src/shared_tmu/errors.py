"""Errors that a user can cause, one class per kind: callers catch `TMUError`, tests check the kind."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that an unknown one most resembles, for a message; None if none does."""
    return next(iter(get_close_matches(name, list(known), 1)), None)


class TMUError(Exception):
    """Base of all errors raised on purpose; the message says what was asked, what was found and what would
    work."""


class ScheduleError(TMUError, ValueError):
    """A schedule cannot be parsed, or does not fit the trunk."""


class PlanError(TMUError, ValueError):
    """A merge plan does not fit a tensor or another plan."""


class MethodError(TMUError, ValueError):
    """A merge method does not exist, or a name is used twice."""


class HoldError(MethodError):
    """A method whose plans cannot be held: it does something else than to merge a fixed number of tokens."""


class PatchError(TMUError, RuntimeError):
    """A model cannot be patched as asked."""


class MissingAssetError(TMUError, FileNotFoundError):
    """A file that only the user can supply (licensed weights, body models, datasets) does not exist."""


class MissingDependencyError(TMUError, ImportError):
    """An optional package is not installed; the message names the extra that installs it."""


class CheckpointError(TMUError, RuntimeError):
    """A checkpoint is unsafe to read, or belongs to another model."""


class BodyModelError(TMUError, ValueError):
    """The contents of a body-model file do not match its format."""


class InputError(TMUError, ValueError):
    """An image, box, folder or option cannot be used."""


class ConfigError(TMUError, ValueError):
    """A model configuration cannot be read, or describes a model that cannot be built."""


class TrainingError(TMUError, RuntimeError):
    """Training cannot continue: a loss is NaN, or a checkpoint cannot be written."""


class KernelError(TMUError, ValueError):
    """A kernel implementation does not exist, or does not support the tensors or the device."""


class CaptureError(TMUError, RuntimeError):
    """A model cannot be captured in a CUDA graph, or has changed since it was captured."""


class ExportError(TMUError, RuntimeError):
    """A model cannot be compiled or exported, or an exported file cannot be run."""


class LayersError(TMUError, ValueError):
    """Blocks cannot be merged as asked, or a search is not possible."""
