"""Patches a ViT inside a model so that its blocks run with merging, and removes the patch again."""

from .handle import PatchHandle, patch

__all__ = ["PatchHandle", "patch"]
