"""What every hand folder's demo.py does, on this folder's model."""

from folder import FOLDER
from suites.hand_demo import HandDemoSuite


class TestDemo(HandDemoSuite):
    folder = FOLDER
