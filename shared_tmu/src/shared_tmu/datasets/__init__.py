"""Evaluation sets in their official layouts, behind one registry of names."""

from shared_tmu.datasets.base import EvalSet, Scores, SetOptions, picture_signature, set_sha256
from shared_tmu.datasets.body_meshes import BodyMeshSet
from shared_tmu.datasets.hand_clips import HandClipSet
from shared_tmu.datasets.hand_meshes import HandMeshSet
from shared_tmu.datasets.registry import DATASETS, DatasetSpec, check_dataset, dataset_names, open_dataset

__all__ = [
    "DATASETS",
    "BodyMeshSet",
    "DatasetSpec",
    "EvalSet",
    "HandClipSet",
    "HandMeshSet",
    "Scores",
    "SetOptions",
    "check_dataset",
    "dataset_names",
    "open_dataset",
    "picture_signature",
    "set_sha256",
]
