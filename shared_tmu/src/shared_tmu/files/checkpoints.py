"""Read model checkpoints without executing code from them, and compare their keys with a model's.

Reads `.safetensors`, and files written by `torch.save` or Lightning; the format is recognised from the
content, not from the file name. Tensors are memory-mapped where the format allows it.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared_tmu.errors import CheckpointError, MissingDependencyError
from shared_tmu.files.regular import open_file, replacing, shortened
from shared_tmu.files.torch_archives import LEGACY_MAGIC, ZIP_MAGIC, read_torch

log = logging.getLogger(__name__)

_REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def read_checkpoint(path: Path | str, where: str = "") -> Mapping[str, Any]:
    """Read a checkpoint into a dictionary, on the CPU, without executing code from it.

    Args:
        path: a `.safetensors` file, or one written by `torch.save` or Lightning.
        where: how to get the file, for the message if it is missing.

    Returns:
        The contents of the file: name to tensor for safetensors, the saved dictionary otherwise.
        Configuration nodes (`PASSIVE_CLASSES`) are returned as ordered dictionaries.

    Raises:
        MissingAssetError: the file does not exist.
        CheckpointError: the file is empty, truncated, of another format, or would need code to be executed
            (the message says which).
    """
    path = Path(path)
    with open_file(path, CheckpointError, where, "checkpoint") as file:
        try:
            head = file.read(64)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
        if not head:
            raise CheckpointError(f"{path} is empty; the download or copy probably failed. {where}".strip())
        is_safe = _is_safetensors(path, head)
        if is_safe and head.startswith((ZIP_MAGIC, LEGACY_MAGIC)):
            raise CheckpointError(
                f"{path} is not a safetensors file but was written by torch.save: rename it to .ckpt."
            )
        content = _read_safetensors(path) if is_safe else read_torch(path, file, head)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a dictionary of tensors.")
    return content


def save_safetensors(
    tensors: Mapping[str, Tensor], path: Path | str, metadata: dict[str, str] | None = None
) -> None:
    """Write tensors as safetensors, atomically; the same content gives the same bytes."""
    with replacing(Path(path)) as beside:
        _safetensors().save_file(
            {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, beside, metadata
        )
        if metadata:
            _sort_metadata(beside)
        # safetensors makes files readable only for the owner, but on shared disks others read them too
        beside.chmod(0o644)


def _sort_metadata(path: Path) -> None:
    """Sort the metadata in a file's header: safetensors writes them in an order that changes from call to
    call, and files are identified by the SHA-256 of their bytes."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(8)
        file.write(text.ljust(length))  # the header ends with spaces anyway


def read_metadata(path: Path | str) -> dict[str, str]:
    """The metadata texts of a safetensors file; empty for files of another format.

    Raises:
        MissingAssetError: the file does not exist.
        CheckpointError: it cannot be opened.
    """
    path = Path(path)
    with open_file(path, CheckpointError, what="checkpoint") as file:
        head = file.read(64)
    if head.startswith((ZIP_MAGIC, LEGACY_MAGIC)) or not _is_safetensors(path, head):
        return {}
    _safetensors()
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            return dict(opened.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file: {error}.") from error


def tensors_of(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the entries of a checkpoint, or of a part of it, that are tensors under a name."""
    return {
        key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)
    }


def beside(checkpoint: Path, ending: str) -> Path:
    """A file beside a checkpoint, named like it: for `.yaml` that is `a.yaml` beside `a.safetensors` and
    `a.pth.tar`.
    """
    return checkpoint.with_name(Path(checkpoint.name.removesuffix(".tar")).stem + ending)


def places_of_config(path: Path) -> list[Path]:
    """Possible places of a checkpoint's configuration: beside the given file, then, if that is a link (as in
    download caches), beside its target.
    """
    places = []
    for file in (path.absolute(), path.resolve()):
        folder = file.parent
        places += [
            beside(file, ".yaml"),
            file.with_suffix(".yaml"),
            folder.parent / "model_config.yaml",
            folder / "model_config.yaml",
        ]
    return list(dict.fromkeys(places))


def load_weights(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    source: str,
    optional: Iterable[str] = (),
) -> None:
    """Put weights into a model (which may be on the meta device), and report what does not fit.

    Args:
        model: the model; its tensors are replaced, not copied into, so memory-mapped weights stay mapped
            and keep their dtype.
        weights: name to tensor.
        source: where they come from, for messages.
        optional: prefixes that may be missing in `weights` or in the model without a message.

    Raises:
        CheckpointError: a weight that the model needs is missing, has another shape, does not hold real
            numbers (integers, complex, quantised, sparse), or belongs to a layer that the model does not
            have; up to ten are named.
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
            f"{source} does not fit the configured model; shapes differ in {_some(shapes)}. Check that this "
            "configuration file belongs to the checkpoint."
        )
    unfit = [
        f"{key} ({_kind(weights[key])})"
        for key, value in own.items()
        if key in weights and not _fits(weights[key], value)
    ]
    if unfit:
        raise CheckpointError(
            f"{source} holds weights of an unsuitable type: {_some(unfit)}; expected plain float16, "
            "bfloat16, float32 or float64 (whole numbers only for counters and flags)."
        )
    if missing:
        raise CheckpointError(f"{source} lacks weights that the model needs: {_some(missing)}.")
    kinds = {_numberless(key) for key in own}
    further = [key for key in unexpected if _numberless(key) in kinds]
    if further:
        raise CheckpointError(
            f"{source} has more layers than the configured model: {_some(further)}. Check that this "
            "configuration file belongs to the checkpoint."
        )
    if unexpected:
        log.warning("%s has keys that the model does not: %s.", source, _some(unexpected))
    model.load_state_dict({key: weights[key] for key in own if key in weights}, strict=False, assign=True)


def _numberless(key: str) -> str:
    """The same for `blocks.3.norm1.weight` and `blocks.31.norm1.weight`."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "#", key)


def _fits(weight: Tensor, own: Tensor) -> bool:
    """Whether a weight can replace `own`: it is plain, in memory, and has real numbers if `own` has."""
    if weight.layout != torch.strided or weight.is_meta or weight.is_quantized:
        return False
    return weight.dtype in _REAL if own.is_floating_point() else weight.dtype in _WHOLE


def _kind(weight: Tensor) -> str:
    """What is special about a tensor, in one word."""
    if weight.is_meta:
        return "without values"
    if weight.layout != torch.strided:
        return str(weight.layout).removeprefix("torch.")
    return str(weight.dtype).removeprefix("torch.")


def _some(names: list[str], limit: int = 10) -> str:
    rest = len(names) - limit
    return ", ".join(shortened(name) for name in names[:limit]) + (f" and {rest} more" if rest > 0 else "")


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
    except (SafetensorError, OSError, ValueError, LookupError, RuntimeError, TypeError) as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is damaged or no safetensors file: {error}."
        ) from error
    return tensors
