"""What merging layers does in every folder, on this folder's model."""

from folder import FOLDER
from suites.layers import LayerSuite


class TestLayers(LayerSuite):
    folder = FOLDER
