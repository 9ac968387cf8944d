"""WiLoR with token merging: the network is in `model`, merging in `tmu`, and the programs are beside
these.
"""

from wilor_tmu.model import WiLoR, WiLoRConfig, load_wilor, save_wilor
from wilor_tmu.tmu import patch
from wilor_tmu.tmu.load import load

__all__ = ["WiLoR", "WiLoRConfig", "load", "load_wilor", "patch", "save_wilor"]
