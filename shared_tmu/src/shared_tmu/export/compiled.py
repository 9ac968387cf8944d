"""A model compiled as one graph, for the current schedule and for any number of images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from shared_tmu.errors import ExportError

_RECOMPILES = 64  # models of one class share code, and torch limits the graphs per code object


class CompiledModel:
    """`torch.compile(fullgraph=True)` of a model for inference; call the result like the model itself.

    The first call compiles, which takes a minute or more for 32 blocks; so do the first call for a single
    image and the first call after a new schedule. On a CPU, weights are copied into the layout that the
    matrix products read (inductor calls this freezing): they take twice the memory, and later changes of
    weights have no effect.

    Args:
        model: model in eval mode, patched or not.
        backend: see `torch.compile`.

        Raises:
        ExportError: the model is in training mode.
    """

    def __init__(self, model: nn.Module, backend: str = "inductor") -> None:
        if model.training:
            raise ExportError("this model is in training mode: call model.eval() before compiling it.")
        self.model = model
        self._compiled = torch.compile(model, fullgraph=True, backend=backend)

    def __call__(self, *arguments: Any) -> Any:
        """The model's output, without gradients.

        Args:
            *arguments: tensors, or dictionaries, lists and tuples of them; the first dimension is the batch.
        """
        import torch._dynamo
        import torch._inductor

        # Graphs also depend on the grad mode: with one fixed mode there is one graph for all callers.
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            torch._dynamo.config.patch(recompile_limit=_RECOMPILES),
            torch._inductor.config.patch(freezing=True),
        ):
            return self._compiled(*tree_map_only(Tensor, _with_any_batch, arguments))


def _with_any_batch(x: Tensor) -> Tensor:
    """The tensor, marked so that the graph is valid for any batch of two or more; the caller's tensor is not
    changed.

    On a CPU this also decides how float32 weights are packed: for oneDNN if the batch size is dynamic, and
    for MKL, which is half as fast on AMD processors, if it is fixed.
    """
    x = x.clone() if x.is_inference() else x.detach()
    if x.ndim > 0 and x.shape[0] > 1 and x.device.type == "cpu":
        torch._dynamo.mark_dynamic(x, 0)
    return x
