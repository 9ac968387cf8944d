"""WiLoR with token merging: the network is in `model`, merging in `tmu`, the programs are beside them."""

from wilor_tmu.model import WiLoR, WiLoRConfig, load_wilor, save_wilor
from wilor_tmu.tmu import patch

__all__ = ["WiLoR", "WiLoRConfig", "load_wilor", "patch", "save_wilor"]
