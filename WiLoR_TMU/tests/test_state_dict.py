"""Names and shapes of the published checkpoint."""

from folder import FOLDER
from suites.golden import StateDictSuite


class TestStateDict(StateDictSuite):
    hands = FOLDER
