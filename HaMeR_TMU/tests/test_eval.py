"""What every hand folder's eval.py does, on this folder's model."""

from folder import FOLDER
from suites.evaluation import EvalSuite


class TestEval(EvalSuite):
    hands = FOLDER
