"""Errors that a user can cause, one class per kind: callers catch `TMUError`, tests check the kind."""


class TMUError(Exception):
    """Base of all errors raised on purpose; the message says what was asked, what was found and what would
    work."""


class ScheduleError(TMUError, ValueError):
    """A schedule that cannot be read, or does not fit the trunk."""


class PlanError(TMUError, ValueError):
    """A merge plan that does not fit the tensor it is applied to, or another plan."""


class MethodError(TMUError, ValueError):
    """A merging method that does not exist, or a name given twice."""


class PatchError(TMUError, RuntimeError):
    """A model that cannot be patched as asked."""


class MissingAssetError(TMUError, FileNotFoundError):
    """A file that only the user can supply (licensed weights, body models, datasets) is not there."""


class MissingDependencyError(TMUError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class CheckpointError(TMUError, RuntimeError):
    """A checkpoint that is unsafe to read, or not of the model it was given to."""


class BodyModelError(TMUError, ValueError):
    """A body-model file whose contents do not match its format."""


class InputError(TMUError, ValueError):
    """An image, box or folder that cannot be processed."""


class ConfigError(TMUError, ValueError):
    """A model configuration that cannot be read, or describes no model that can be built."""


class TrainingError(TMUError, RuntimeError):
    """Training that cannot continue: losses that are NaN, a checkpoint that cannot be written."""


class KernelError(TMUError, ValueError):
    """A fast path that does not exist, or does not fit the tensors or the device."""


class CaptureError(TMUError, RuntimeError):
    """A model that cannot be captured in a CUDA graph, or a captured one that no longer fits."""


class ExportError(TMUError, RuntimeError):
    """A model that cannot be compiled or exported, or an exported file that cannot be run."""


class LayersError(TMUError, ValueError):
    """Blocks that cannot be merged as asked, or a search that cannot be made."""
