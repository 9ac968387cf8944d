"""Finding out, without a GPU, whether a forward would wait for one."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class NoCopiesFromPython(TorchDispatchMode):
    """Refuses to make a tensor of numbers that are in Python: on a GPU that is a copy to wait for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (torch.ops.aten.lift_fresh, torch.ops.aten.lift_fresh_copy):
            raise AssertionError(f"{func} copies from Python")
        return func(*args, **(kwargs or {}))


def shapes_without_numbers(
    model: nn.Module, batch: Mapping[str, Tensor], patch: Callable[[nn.Module], object]
) -> list[torch.Size]:
    """Shapes of all that a patched copy of a model says, found with tensors that have no numbers.

    What looks at a number, and so would wait for a GPU and could not be captured in a graph, raises.

    Args:
        model: in eval mode; stays as it is.
        batch: its argument.
        patch: patches the copy.
    """
    model, mode = copy.deepcopy(model), FakeTensorMode()
    patch(model)  # looks at a block's numbers, which are there still
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                tensors[name] = None if tensor is None else mode.from_tensor(tensor)
    with mode, torch.no_grad(), NoCopiesFromPython():
        said = model({name: mode.from_tensor(tensor) for name, tensor in batch.items()})
    return [tensor.shape for tensor in tree_flatten(said)[0]]
