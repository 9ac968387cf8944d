"""ECLM, error-constrained layer merging: gives a ViT with fewer blocks whose error on a data set stays within
a bound.

Source: FastHMR, Mehraban et al. 2025, arXiv:2510.10868, section 3.2 and Algorithm 1.
"""

from .features import collect_features
from .operators import VARIANTS, merge_blocks
from .partition import Partition, check_partition, describe_partition, singles
from .recipe import METADATA, LayerRecipe, read_recipe
from .search import Search, Trial, find_windows
from .shorter import forget_shortened, shortened
from .similarity import linear_cka
from .surgery import BlocksOf, merge_layers

__all__ = [
    "METADATA",
    "VARIANTS",
    "BlocksOf",
    "LayerRecipe",
    "Partition",
    "Search",
    "Trial",
    "check_partition",
    "collect_features",
    "describe_partition",
    "find_windows",
    "forget_shortened",
    "linear_cka",
    "merge_blocks",
    "merge_layers",
    "read_recipe",
    "shortened",
    "singles",
]
