"""Names and shapes of the published checkpoint."""

from folder import FOLDER
from suites.hand_golden import HandStateDictSuite


class TestStateDict(HandStateDictSuite):
    folder = FOLDER
