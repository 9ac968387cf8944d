"""Exports a model, patched or not, as an ONNX file; `onnx_model.OnnxModel` runs it."""

from __future__ import annotations

import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_unflatten

from shared_tmu.errors import ExportError, InputError, MissingDependencyError
from shared_tmu.export.outputs import OUTPUT, flatten_output, name_input
from shared_tmu.export.translations import translations
from shared_tmu.files import write_target
from shared_tmu.kernels import using

MAX_FILE_BYTES = 2**31 - 2**24
"""Models with more bytes of weights keep them in a separate file: an ONNX file itself cannot exceed 2 GiB."""

_NOISY = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


def export_onnx(
    model: nn.Module,
    example: Mapping[str, Tensor] | Tensor,
    path: Path,
    *,
    dynamic_batch: bool = True,
    metadata: Mapping[str, str] | None = None,
    max_file_bytes: int = MAX_FILE_BYTES,
    check: Callable[[Path], None] = lambda path: None,
) -> list[Path]:
    """Write a model as an ONNX file; the merging of a patched model is part of the graph.

    The file's inputs are named as in `example`, its outputs as in the model's dictionary, with dots for
    nested names (`pred_mano_params.betas`). Inputs that the model returns unchanged are left out. Matching
    keeps its rule for ties: of equal scores, the first ranks higher.

    Args:
        model: model in eval mode, on the CPU; maps a dictionary of tensors, or one tensor, to the same. A
            single input tensor is named after the argument of the model's forward, a single output tensor
            `output`.
        example: a batch for the model, with at least 2 images for a dynamic batch; its values do not matter.
        path: the file; weights of large models are in `<name>.data` beside it.
        dynamic_batch: accept any number of images; False fixes the example's number.
        metadata: texts to store in the file.
        max_file_bytes: if the weights have more bytes than this, they are written to a separate file.
        check: called with the new file before it replaces one at `path`; if it raises an error, nothing is
            replaced.

    Returns:
        The files that were written.

    Raises:
        ExportError: the folder cannot be written to, or the model cannot be exported.
        MissingDependencyError: the packages of `shared_tmu[onnx]` are not installed.
    """
    if model.training:
        raise ExportError("this model is in training mode: call model.eval() before exporting it.")
    path = output_file(path)
    takes_tensor = isinstance(example, Tensor)
    batch = {name_input(model): example} if isinstance(example, Tensor) else example
    flat = _Flat(model, tuple(batch), takes_tensor)
    with _quiet(), _folder_beside(path) as folder:
        program = _translate(flat, batch, dynamic_batch)
        program.model.metadata_props.update(metadata or {})
        weights = sum(value.const_value.nbytes for value in program.model.graph.initializers.values())
        program.save(folder / path.name, external_data=weights > max_file_bytes)
        check(folder / path.name)
        return _move_files(folder, path)


class _Flat(nn.Module):
    """Maps tensors to a flat dictionary of tensors, without inputs that are returned unchanged."""

    def __init__(self, model: nn.Module, inputs: tuple[str, ...], takes_tensor: bool) -> None:
        super().__init__()
        self.model, self.inputs, self.takes_tensor = model, inputs, takes_tensor

    def forward(self, *tensors: Tensor) -> dict[str, Tensor]:
        given = tensors[0] if self.takes_tensor else dict(zip(self.inputs, tensors, strict=True))
        output = self.model(given)
        output = {OUTPUT: output} if isinstance(output, Tensor) else flatten_output(output)
        return {name: value for name, value in output.items() if not any(value is x for x in tensors)}


def _translate(flat: _Flat, example: Mapping[str, Tensor], dynamic_batch: bool) -> Any:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "exporting to ONNX needs onnx and onnxscript: pip install 'shared_tmu[onnx]'."
        ) from error
    tensors = tuple(example.values())
    shapes = {"tensors": tuple({0: torch.export.Dim.DYNAMIC} for _ in tensors)} if dynamic_batch else None
    with torch.inference_mode(False), torch.no_grad(), using(merging="torch", attention="mask"):
        try:
            traced = torch.export.export(flat, tensors, dynamic_shapes=shapes)
            return torch.onnx.export(
                traced,
                dynamo=True,
                input_names=list(example),
                output_names=_output_names(traced),
                custom_translation_table=translations(),
                verbose=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            missing = re.search(r"No ONNX function found for <OpOverload\(op='([^']+)'", str(error))
            reason = f"ONNX has no operator for {missing[1]!r}, which it calls." if missing else str(error)
            raise ExportError(f"{type(flat.model).__name__} cannot be exported: {reason}") from error


def _output_names(traced: torch.export.ExportedProgram) -> list[str]:
    """The keys of the dictionary that `_Flat` returns, in the order of the graph's outputs."""
    spec = traced.call_spec.out_spec
    assert spec is not None
    places: dict[str, int] = tree_unflatten(range(spec.num_leaves), spec)
    return sorted(places, key=places.__getitem__)


def output_file(path: Path) -> Path:
    """The final path of a model exported to `path`: links are followed; its weights lie beside it.

    Raises:
        ExportError: the path is a folder, a device or another thing that is not a regular file, or no file
            can be created there.
    """
    try:
        target = write_target(path.absolute())
        beside = target.with_name(f"{target.name}.data")
        if write_target(beside) != beside:
            raise ExportError(
                f"{beside} is a link, but weights of large models are written to that name: remove the "
                "link, or choose another path."
            )
    except InputError as error:
        raise ExportError(f"{error}") from error
    return target


@contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    """A temporary folder for unfinished files beside `path`.

    Raises:
        ExportError: it cannot be created there; raised before any work.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".export.", suffix=".part", dir=path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ExportError(f"{path} cannot be written ({reason}): choose another path.") from error
    with folder as name:
        yield Path(name)


def _move_files(folder: Path, path: Path) -> list[Path]:
    """Move the written files into place, weights first: a model must never be beside the weights of another
    one.
    """
    path.unlink(missing_ok=True)
    beside = path.with_name(f"{path.name}.data")
    beside.unlink(missing_ok=True)
    files = sorted(folder.iterdir(), key=lambda file: file.name == path.name)
    return [file.replace(path.with_name(file.name)) for file in files]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide messages of the exporters that are of no use to users."""
    before = {name: logging.getLogger(name).level for name in _NOISY}
    for name in before:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
