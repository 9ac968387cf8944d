"""What every hand folder's eval.py does, on this folder's model."""

from folder import FOLDER
from suites.hand_evaluation import HandEvalSuite


class TestEval(HandEvalSuite):
    folder = FOLDER
