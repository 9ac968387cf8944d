"""What every hand folder's LightningModule does, on this folder's model."""

from folder import FOLDER
from suites.lightning import LightningSuite


class TestLightning(LightningSuite):
    folder = FOLDER
