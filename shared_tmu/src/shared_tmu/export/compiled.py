"""A model compiled as one graph, for the current schedule and for any number of images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from shared_tmu.errors import ExportError

_RECOMPILES = 64  # models of one class share their code, and torch counts graphs per code


class CompiledModel:
    """`torch.compile(fullgraph=True)` of a model for inference; call it like the model itself.

    The first call compiles, which takes a minute or more for 32 blocks; so do the first call for a single
    image and the first after a new schedule. On a CPU, weights are copied into the order that the matrix
    products read them in (inductor calls this freezing): they take memory twice, and weights that change
    later are not noticed.

    Args:
        model: in eval mode, patched or not.
        backend: as for `torch.compile`.

    Raises:
        ExportError: a model in training mode.
    """

    def __init__(self, model: nn.Module, backend: str = "inductor") -> None:
        if model.training:
            raise ExportError("this model is in training mode: call model.eval() before compiling it.")
        self.model = model
        self._compiled = torch.compile(model, fullgraph=True, backend=backend)

    def __call__(self, *arguments: Any) -> Any:
        """The model's output, without gradients.

        Args:
            *arguments: tensors, or dictionaries, lists and tuples of them, with the batch in front.
        """
        import torch._dynamo
        import torch._inductor

        # Graphs are chosen by the grad mode too: one mode, whatever the caller's, means one graph.
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            torch._dynamo.config.patch(recompile_limit=_RECOMPILES),
            torch._inductor.config.patch(freezing=True),
        ):
            return self._compiled(*tree_map_only(Tensor, _with_any_batch, arguments))


def _with_any_batch(x: Tensor) -> Tensor:
    """The tensor, marked so that the graph holds for any batch of two or more; the caller's stays as it is.

    On a CPU this also decides how float32 weights are packed: for oneDNN if the size is open, for MKL, which
    on AMD processors is half as fast, if it is fixed.
    """
    x = x.clone() if x.is_inference() else x.detach()
    if x.ndim > 0 and x.shape[0] > 1 and x.device.type == "cpu":
        torch._dynamo.mark_dynamic(x, 0)
    return x
