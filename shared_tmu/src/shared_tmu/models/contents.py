"""Finds the weights in a checkpoint: removes wrappers, and recognises files of other models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from shared_tmu.files import shortened
from shared_tmu.files.checkpoints import tensors_of

_MAX_DEPTH = 4  # levels of nested dictionaries
_ANYWHERE = frozenset(
    ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
)
"""Prefixes that compiling and training on several GPUs add to a module's name, also inside a model."""
_IN_FRONT = frozenset(("model", "net", "network", "regressor", "base_model", "state_dict"))
"""Common names of a model inside a larger module."""
_AVERAGES = frozenset(
    (
        "ema", "ema_model", "model_ema", "ema_module", "module_ema", "averaged_model", "avg_model",
        "swa_model", "state_dict_ema", "ema_state_dict", "model_state_dict_ema", "shadow", "shadow_params",
    )
)  # fmt: skip
"""Common names of the running average of the weights."""


@dataclass(frozen=True)
class Group:
    """A group of weights in one place.

    Args:
        place: the dictionaries and wrappers around them, such as `state_dict/model`.
        is_average: whether one of them says that these are running averages.
        weights: name, without wrappers, to tensor.
    """

    place: str
    is_average: bool
    weights: dict[str, Tensor]

    def has(self, prefixes: tuple[str, ...]) -> bool:
        """Whether there are weights that start with each of `prefixes`."""
        return all(any(name.startswith(prefix) for name in self.weights) for prefix in prefixes)


def groups_of(content: Mapping[str, Any], our_name: Callable[[str], str] = str) -> list[Group]:
    """All groups of weights of a checkpoint, in any dictionaries and wrappers, outermost first.

    Args:
        content: a checkpoint.
        our_name: function from a weight's name to its name here.
    """
    groups: dict[tuple[str, ...], dict[str, Tensor]] = {}
    for path, part in _dictionaries(content):
        for name, tensor in tensors_of(part).items():
            wrappers, bare = _unwrapped(name)
            groups.setdefault((*path, *wrappers), {})[our_name(bare)] = tensor
    return [
        Group("/".join(place), any(word.lower() in _AVERAGES for word in place), weights)
        for place, weights in groups.items()
    ]


def _dictionaries(content: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """A dictionary and all dictionaries inside it, each once, with the keys that lead to it."""
    seen: set[int] = set()
    level: list[tuple[tuple[str, ...], Mapping[str, Any]]] = [((), content)]
    for _ in range(_MAX_DEPTH):
        deeper = []
        for path, part in level:
            yield path, part
            for key, value in part.items():
                if isinstance(key, str) and isinstance(value, Mapping) and id(value) not in seen:
                    seen.add(id(value))
                    deeper.append(((*path, key), value))
        level = deeper


def _unwrapped(name: str) -> tuple[tuple[str, ...], str]:
    """The wrappers at the beginning of a weight's name, and the name without them."""
    words = [word for word in name.split(".") if word not in _ANYWHERE]
    count = 0
    while count < len(words) - 1 and (words[count] in _IN_FRONT or words[count] in _AVERAGES):
        count += 1
    return tuple(words[:count]), ".".join(words[count:])


def identify(content: Mapping[str, Any]) -> str:
    """Part of a sentence for messages: the model to which a checkpoint seems to belong, by the names of its
    weights.
    """
    names = [name for group in groups_of(content) for name in group.weights]

    def has(*prefixes: str) -> bool:
        return any(name.startswith(prefixes) for name in names)

    if has("refine_net.", "backbone.pose_emb", "backbone.init_hand_pose"):
        return "it is WiLoR's (it has a refinement net and task tokens)"
    if has("encoder.") and has("decoder."):
        return "it is SMPLest-X's (its weights are module.encoder.* and module.decoder.*)"
    if has("mano_head."):
        return "it is HaMeR's (it has a mano_head)"
    if has("smpl_head."):
        return "it is HMR2.0's (it has an smpl_head)"
    if has("backbone."):
        return "it has a backbone but no head, like a ViTPose checkpoint"
    if has("blocks.", "patch_embed.", "cls_token"):
        return "it is a plain ViT, such as a classifier or an MAE pretraining"
    if not names:
        keys = ", ".join(shortened(str(key), 40) for key in list(content)[:8])
        return f"it holds no weights, only {keys}" if keys else "it is empty"
    return f"it has keys such as {', '.join(shortened(name, 60) for name in names[:4])}"
