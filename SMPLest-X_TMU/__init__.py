"""SMPLest-X with token merging: the network is in `model`, merging in `tmu`, and the programs are beside
these.
"""

from smplest_x_tmu.model import SMPLestX, SMPLestXConfig, load_smplest_x, save_smplest_x
from smplest_x_tmu.tmu import patch
from smplest_x_tmu.tmu.load import load

__all__ = ["SMPLestX", "SMPLestXConfig", "load", "load_smplest_x", "patch", "save_smplest_x"]
