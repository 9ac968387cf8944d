"""Loading WiLoR: what every hand folder loads."""

from folder import FOLDER
from suites.hand_loading import HandLoadingSuite


class TestLoading(HandLoadingSuite):
    folder = FOLDER
