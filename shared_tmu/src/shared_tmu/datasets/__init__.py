"""Evaluation sets in their official layouts, behind one registry of names."""

from shared_tmu.datasets.hand_meshes import HandMeshSet, Scores
from shared_tmu.datasets.registry import DATASETS, DatasetSpec, dataset_names, open_dataset

__all__ = ["DATASETS", "DatasetSpec", "HandMeshSet", "Scores", "dataset_names", "open_dataset"]
