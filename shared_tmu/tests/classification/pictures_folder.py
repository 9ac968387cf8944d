"""Folders of little pictures by class, and a tiny ViT of timm with its checkpoint."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch
from PIL import Image

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2}
MODEL = "vit_tiny_patch16_224"


def make_folder(root: Path, classes=("cat", "dog", "eel"), count=4, split="val") -> Path:
    """`root/split/CLASS/N.png`: noise around a colour of the class."""
    draws = np.random.default_rng(0)
    for number, name in enumerate(classes):
        folder = root / split / name
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            values = draws.integers(0, 60, (40, 36, 3)).astype(np.uint8)
            values[..., number % 3] += 150
            Image.fromarray(values).save(folder / f"{index}.png")
    return root


def make_idx(folder: Path, count=12, classes=3) -> Path:
    """Fashion-MNIST's four files, two of them packed."""
    folder.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(0)
    for prefix, write in (("train", gzip.compress), ("t10k", bytes)):
        labels = (np.arange(count) % classes).astype(np.uint8)
        grey = draws.integers(0, 60, (count, 28, 28)).astype(np.uint8) + 60 * labels[:, None, None]
        end = ".gz" if prefix == "train" else ""
        head = b"\x00\x00\x08\x03" + b"".join(k.to_bytes(4, "big") for k in grey.shape)
        (folder / f"{prefix}-images-idx3-ubyte{end}").write_bytes(write(head + grey.tobytes()))
        head = b"\x00\x00\x08\x01" + count.to_bytes(4, "big")
        (folder / f"{prefix}-labels-idx1-ubyte{end}").write_bytes(write(head + labels.tobytes()))
    return folder


def tiny_vit(timm, num_classes=3, **more):
    """A ViT of timm with random weights, none of which is 0."""
    torch.manual_seed(0)
    vit = timm.create_model(MODEL, num_classes=num_classes, **{**TINY, **more})
    for parameter in vit.parameters():
        torch.nn.init.normal_(parameter, 0.5 if parameter.ndim == 1 else 0.0, 0.5)
    return vit.eval()
