"""Loading WiLoR: what every hand folder loads."""

from folder import FOLDER
from suites.loading import LoadingSuite


class TestLoading(LoadingSuite):
    hands = FOLDER
