"""Packs weights of linear layers into the layout that a CPU's matrix products read, once instead of at every
call.

A matrix product on a CPU first copies both factors into blocks that fit its caches. For a weight this is the
same work at every call, and after merging, with few tokens, it is a large share of all work. `pack_weights`
lets oneDNN do it once. The model is otherwise unchanged, can be patched before or after, and can be restored.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_tmu.errors import PatchError

_DTYPES = (torch.float32, torch.bfloat16)
PACKED_HELP = (
    "on a CPU, multiply by copies of the weights in the layout that its matrix products read: faster, equal "
    "up to rounding, needs additional memory of the size of the weights"
)
"""Help text of the flag in programs that pack by default."""


class PackedLinear(nn.Linear):
    """A linear layer that shares another layer's parameters and multiplies by a packed copy of the weight.

    If the copy cannot be used (gradients are needed, autocast is on, the model is being compiled, or the
    dtype is neither float32 nor bfloat16), it computes like the original layer. If the weight was replaced,
    or changed in place so that PyTorch counts it, the next call packs it again. PyTorch counts no write
    through `weight.data` (some averages of weights, clipping), and none to tensors made in inference mode:
    after those, call `PackHandle.repack`.
    """

    attributes_that_follow = frozenset({"_original", "_packed"})  # read by `shared_tmu.blocks.state`

    def __init__(self, original: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(original.__dict__)  # same parameters, hooks and mode
        self._original = (original,)  # in a tuple, because a module itself would be registered as a submodule
        self._packed: tuple[tuple[Any, ...], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., in_features]` to `[..., out_features]`."""
        if not self._can_multiply(x):
            return F.linear(x, self.weight, self.bias)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.pack(), self.bias, "none", [], "")
        return out

    def pack(self) -> Tensor:
        """The packed weight; packed now if the weight is known to have changed since."""
        weight = self.weight
        state = (weight.data_ptr(), weight.dtype, None if weight.is_inference() else weight._version)
        held = self._packed  # another thread may replace it; both are correct
        if held is None or held[0] != state:
            with torch.no_grad():
                held = state, torch.ops.mkldnn._reorder_linear_weight(weight.detach())
            self._packed = held
        return held[1]

    def forget(self) -> None:
        """Let the next call pack the weight again."""
        self._packed = None

    def unpacked(self) -> nn.Linear:
        """The original layer, with the parameters and the mode of this one."""
        original = self._original[0]
        original._parameters, original.training = self._parameters, self.training
        return original

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}  # valid only in this process, not in a copy or a file

    def _can_multiply(self, x: Tensor) -> bool:
        weight = self.weight
        wants_gradients = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
        return not (
            torch.compiler.is_compiling()
            or wants_gradients
            or type(x) is not Tensor
            or x.device.type != "cpu"
            or x.dtype != weight.dtype
            or x.dtype not in _DTYPES
            or x.numel() == 0
            or torch.is_autocast_enabled("cpu")
        )


class PackHandle:
    """A model with packed weights; `remove`, or the end of a `with` block, restores the model."""

    def __init__(self, places: list[tuple[nn.Module, str]]) -> None:
        self._places = places

    def __enter__(self) -> PackHandle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def num_layers(self) -> int:
        """Number of layers with a packed weight; 0 after removal."""
        return len(self._places)

    def repack(self) -> None:
        """Let the next forward pack all weights again, after writes that PyTorch does not count."""
        for layer in {owner._modules[name] for owner, name in self._places}:
            if isinstance(layer, PackedLinear):
                layer.forget()

    def remove(self) -> None:
        """Restore the original layers; a second call does nothing."""
        for owner, name in self._places:
            layer = owner._modules[name]
            if isinstance(layer, PackedLinear):
                owner._modules[name] = layer.unpacked()
        self._places = []


def pack_weights(model: nn.Module) -> PackHandle:
    """Pack the weights of all `nn.Linear` layers in a model for inference on the CPU.

    The packed copies need as much memory as these weights. Results in bfloat16 are bitwise equal if PyTorch
    multiplies with oneDNN anyway; in float32 they differ by rounding, since PyTorch itself may use another
    library. Subclasses of `nn.Linear` are not changed.

    Args:
        model: model on the CPU, in float32 or bfloat16. The keys of its state dict stay the same.

    Raises:
        PatchError: PyTorch has no oneDNN, or the model is already packed, is not on the CPU, has another
            dtype, or has no linear layer.
    """
    places: list[tuple[nn.Module, str]] = []
    for owner in model.modules():
        for name, layer in owner._modules.items():
            if isinstance(layer, PackedLinear):
                raise PatchError("this model's weights are already packed: call handle.remove() first.")
            if type(layer) is nn.Linear:
                if obstacle := _find_obstacle(layer):
                    raise PatchError(obstacle)
                places.append((owner, name))
    if not places:
        raise PatchError(f"{type(model).__name__} contains no nn.Linear whose weight could be packed.")
    packed: dict[int, PackedLinear] = {}  # a layer that is used in two places stays one layer
    for owner, name in places:
        layer = owner._modules[name]
        assert isinstance(layer, nn.Linear)
        if id(layer) not in packed:
            packed[id(layer)] = PackedLinear(layer)
            packed[id(layer)].pack()
        owner._modules[name] = packed[id(layer)]
    return PackHandle(places)


def pack_if_possible(model: nn.Module) -> PackHandle:
    """Like `pack_weights`, but returns a handle without layers where packing is not possible: on a GPU, in
    float16, and so on.
    """
    linear = [layer for layer in model.modules() if type(layer) is nn.Linear]
    is_packed = any(isinstance(layer, PackedLinear) for layer in model.modules())
    if is_packed or not linear or any(_find_obstacle(layer) for layer in linear):
        return PackHandle([])
    return pack_weights(model)


def _find_obstacle(layer: nn.Linear) -> str | None:
    """Why the weight of this layer cannot be packed here, or None."""
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not has_onednn or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return "packing weights needs oneDNN, but this PyTorch was built without it."
    weight = layer.weight
    if weight.device.type != "cpu" or weight.dtype not in _DTYPES:
        return (
            f"only float32 and bfloat16 weights on the CPU can be packed, but this model has {weight.dtype} "
            f"on {weight.device}: convert it first."
        )
    if weight.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "oneDNN cannot multiply in bfloat16 on this CPU: use float32."
    return None
