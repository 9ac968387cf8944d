"""HaMeR with token merging: the network is in `model`, merging in `tmu`, and the programs are beside
these.
"""

from hamer_tmu.model import HaMeR, HaMeRConfig, load_hamer, save_hamer
from hamer_tmu.tmu import patch
from hamer_tmu.tmu.load import load

__all__ = ["HaMeR", "HaMeRConfig", "load", "load_hamer", "patch", "save_hamer"]
