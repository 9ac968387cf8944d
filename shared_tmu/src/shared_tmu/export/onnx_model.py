"""Runs an exported model in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shared_tmu.errors import ExportError, InputError, MissingAssetError, MissingDependencyError
from shared_tmu.export.outputs import nest_output


class OnnxModel:
    """A file of `export_onnx`; call it like the original model.

    Args:
        path: the file; weights beside it are found automatically.
        num_threads: number of threads of onnxruntime; None for as many as torch uses.

        Raises:
        MissingAssetError: the file does not exist.
        ExportError: onnxruntime cannot read or run it.
        MissingDependencyError: the packages of `shared_tmu[onnx]` are not installed.
    """

    def __init__(self, path: Path | str, num_threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingDependencyError(
                "running ONNX files needs onnxruntime: pip install 'shared_tmu[onnx]'."
            ) from error
        path = Path(path)
        if not path.is_file():
            raise MissingAssetError(f"{path.name} is not in {path.absolute().parent}: export it first.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or torch.get_num_threads()
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common base class
            raise ExportError(f"onnxruntime cannot run {path}: {error}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    @property
    def metadata(self) -> dict[str, str]:
        """The texts stored in the file: schedule, method, model and so on."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    @property
    def inputs(self) -> dict[str, tuple[int | None, ...]]:
        """Shape of every input; None for the batch if any number of images is accepted."""
        found = self._session.get_inputs()
        return {x.name: tuple(n if isinstance(n, int) else None for n in x.shape) for x in found}

    def __call__(self, batch: Mapping[str, Tensor] | Tensor) -> dict[str, Any]:
        """The model's output dictionary, on the CPU; if the model returns one tensor, it is named `output`.

        Args:
            batch: at least the inputs of the file; other keys are ignored. A tensor is the only input.

        Raises:
            InputError: an input is missing, or has another shape.
        """
        wanted = self.inputs
        if isinstance(batch, Tensor):
            batch = dict.fromkeys(wanted, batch) if len(wanted) == 1 else {}
        missing = [name for name in wanted if name not in batch]
        if missing:
            raise InputError(f"this model needs {', '.join(wanted)}; the batch lacks {', '.join(missing)}.")
        for name, shape in wanted.items():
            found = batch[name].shape
            if len(found) != len(shape) or any(n not in (None, m) for n, m in zip(shape, found, strict=True)):
                sizes = ", ".join("B" if n is None else str(n) for n in shape)
                raise InputError(f"this model expects {name} of shape [{sizes}], found {list(found)}.")
        feeds = {name: batch[name].detach().float().cpu().numpy() for name in wanted}
        results = self._session.run(self._outputs, feeds)
        return nest_output(
            {name: torch.from_numpy(x) for name, x in zip(self._outputs, results, strict=True)}
        )
