"""What every hand folder's demo.py does, on this folder's model."""

from folder import FOLDER
from suites.demo import DemoSuite


class TestDemo(DemoSuite):
    hands = FOLDER
