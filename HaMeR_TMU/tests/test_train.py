"""What every hand folder's train.py does, on this folder's model."""

from folder import FOLDER
from suites.training import TrainingSuite


class TestTraining(TrainingSuite):
    hands = FOLDER
