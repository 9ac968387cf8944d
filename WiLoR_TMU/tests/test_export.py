"""What every folder's export.py does, on this folder's model."""

from folder import FOLDER
from suites.export import ExportSuite


class TestExport(ExportSuite):
    folder = FOLDER
