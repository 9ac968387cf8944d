"""What every hand folder's train.py does, on this folder's model."""

from folder import FOLDER
from suites.hand_training import HandTrainingSuite


class TestTraining(HandTrainingSuite):
    folder = FOLDER
