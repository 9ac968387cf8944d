"""What every hand folder's the LightningModule does, on this folder's model."""

from folder import FOLDER
from suites.lightning import LightningSuite


class TestLightning(LightningSuite):
    hands = FOLDER
