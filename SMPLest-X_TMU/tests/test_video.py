"""What every folder's demo.py does with a video, on this folder's model."""

from folder import FOLDER
from suites.video import VideoSuite


class TestVideo(VideoSuite):
    folder = FOLDER
