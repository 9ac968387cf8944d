"""Read model checkpoints without executing code from them, and compare their keys with a model's.

Understands `.safetensors`, and whatever `torch.save` or Lightning wrote, by content rather than by file name.
Tensors are memory-mapped where the format allows it.
"""

import logging
import pickle
import pickletools
import re
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared_tmu.errors import CheckpointError, MissingAssetError, MissingDependencyError
from shared_tmu.files import replacing

log = logging.getLogger(__name__)

PASSIVE_CLASSES = ("yacs.config.CfgNode",)
"""Classes that published checkpoints hold beside tensors; read as plain ordered dictionaries."""

LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")
"""How files written by torch.save before 1.6 start."""

_REFUSED = re.compile(r"(?:GLOBAL|class) ([\w]+(?:\.\w+)+)")
_LOADING = threading.Lock()  # torch keeps the list of allowed classes per process


def read_checkpoint(path: Path | str, where: str = "") -> Mapping[str, Any]:
    """Read a checkpoint into a dictionary, on the CPU, executing nothing.

    Args:
        path: a `.safetensors` file, or one written by `torch.save` or Lightning.
        where: how one gets the file, for the message if it is not there.

    Returns:
        What the file holds: name to tensor for safetensors, the saved dictionary otherwise. Configuration
        nodes (`PASSIVE_CLASSES`) come as ordered dictionaries.

    Raises:
        MissingAssetError: there is no such file.
        CheckpointError: the file is empty, truncated, of another kind, or asks for code (the message says
            which).
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; a checkpoint is a file. {where}".strip())
    if not path.is_file():
        raise MissingAssetError(f"checkpoint {path.name} is not in {path.parent.absolute()}. {where}".strip())
    head = _head(path)
    if not head:
        raise CheckpointError(f"{path} is empty; the download or copy probably failed. {where}".strip())
    content = _read_safetensors(path) if _is_safetensors(path, head) else _read_torch(path, head)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a dictionary of tensors.")
    return content


def save_safetensors(
    tensors: Mapping[str, Tensor], path: Path | str, metadata: dict[str, str] | None = None
) -> None:
    """Write tensors as safetensors, atomically."""
    with replacing(Path(path)) as beside:
        _safetensors().save_file(
            {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, beside, metadata
        )
        beside.chmod(0o644)  # safetensors writes for the owner alone; shared disks have other readers


def tensors_of(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the entries of a checkpoint, or of a part of it, that are tensors under a name."""
    return {
        key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)
    }


def load_weights(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    source: str,
    optional: Iterable[str] = (),
) -> None:
    """Put weights into a model, also one built on the meta device, and say what did not fit.

    Args:
        model: the model; its tensors are replaced, not copied into, so memory-mapped weights stay mapped
            and keep their dtype.
        weights: name to tensor.
        source: where they come from, for messages.
        optional: prefixes whose absence from `weights`, or from the model, is not worth a word.

    Raises:
        CheckpointError: a weight that the model needs is missing, or has another shape; up to ten are named.
    """
    skip = tuple(optional)
    own = model.state_dict()
    missing = [key for key in own if key not in weights and not key.startswith(skip or ("\0",))]
    unexpected = [key for key in weights if key not in own and not key.startswith(skip or ("\0",))]
    shapes = [
        f"{key} {list(weights[key].shape)} instead of {list(own[key].shape)}"
        for key in own
        if key in weights and weights[key].shape != own[key].shape
    ]
    if shapes:
        raise CheckpointError(
            f"{source} does not fit the configured model; other shapes in {_some(shapes)}. "
            "Is this the configuration file that belongs to the checkpoint?"
        )
    if missing:
        raise CheckpointError(f"{source} lacks weights that the model needs: {_some(missing)}.")
    if unexpected:
        log.warning("%s has keys that the model does not: %s.", source, _some(unexpected))
    model.load_state_dict({key: weights[key] for key in own if key in weights}, strict=False, assign=True)


def _some(names: list[str], limit: int = 10) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error


def _is_safetensors(path: Path, head: bytes) -> bool:
    length = int.from_bytes(head[:8], "little")
    looks_right = len(head) > 8 and head[8:9] == b"{" and length <= path.stat().st_size
    return looks_right or path.suffix.lower() == ".safetensors"


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise MissingDependencyError(
            "safetensors files need the 'safetensors' package: pip install 'shared_tmu[models]'."
        ) from error
    return safetensors.torch


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    library = _safetensors()
    from safetensors import SafetensorError

    try:
        tensors: dict[str, Tensor] = library.load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is damaged or no safetensors file: {error}."
        ) from error
    return tensors


def _read_torch(path: Path, head: bytes) -> Any:
    is_zip = zipfile.is_zipfile(path)
    if not is_zip and not head.startswith(b"PK") and not head.startswith(LEGACY_MAGIC):
        raise CheckpointError(_not_torch(path, head))
    passive = [(OrderedDict, name) for name in PASSIVE_CLASSES]
    try:
        with _LOADING, torch.serialization.safe_globals(passive):  # type: ignore[arg-type]
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip or None)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error))) from error
    except (RuntimeError, EOFError, LookupError, ValueError, OSError, TypeError, AttributeError) as error:
        detail = str(error).split(". ")[0].strip() or type(error).__name__
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is truncated, damaged, or no torch checkpoint: {detail}."
        ) from error


def _not_torch(path: Path, head: bytes) -> str:
    names = _named_globals(path)
    if names:
        return (
            f"{path} was not loaded: it is a plain pickle that asks for {_some(names)}, which could execute "
            "code; expected a safetensors file or one written by torch.save."
        )
    return (
        f"{path} is no checkpoint: it starts with {head[:16]!r}, expected a safetensors file or one written "
        "by torch.save. A web page saved instead of the file looks like this."
    )


def _named_globals(path: Path) -> list[str]:
    """List the functions and classes that a pickle asks for, by reading its opcodes only."""
    names, strings = [], ["", ""]
    try:
        with path.open("rb") as file:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name == "GLOBAL":
                    names.append(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL":
                    names.append(".".join(strings[-2:]))
                elif isinstance(argument, str):
                    strings.append(argument)
    except (ValueError, IndexError, EOFError, OverflowError):
        pass  # not a pickle after all, or damaged; what was found so far counts
    return [repr(name) for name in dict.fromkeys(names)]


def _refusal(path: Path, message: str) -> str:
    found = _REFUSED.search(message)
    if found is None:
        details = [line for line in message.splitlines() if line.startswith("WeightsUnpickler")]
        return f"{path} is damaged or not written by torch.save: {(details or ['unreadable pickle'])[0]}."
    return (
        f"{path} was not loaded: it asks for '{found.group(1)}', which is neither a tensor nor a plain value "
        "and could execute code. Export its weights alone (a dictionary of tensors) where it was written."
    )
