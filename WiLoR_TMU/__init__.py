"""WiLoR with token merging: the network is in `model`, merging in `tmu`, and the programs are beside
these.
"""

from wilor_tmu.model import WiLoR, WiLoRConfig, load_wilor, save_wilor
from wilor_tmu.tmu import patch

__all__ = ["WiLoR", "WiLoRConfig", "load_wilor", "patch", "save_wilor"]
