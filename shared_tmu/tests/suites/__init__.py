"""Tests that every model folder passes: written once, run by each folder on its own model.

A folder's `tests/folder.py` describes it (`HandFolder` or `BodyFolder`); its test modules name a class per
suite:

    class TestLoading(LoadingSuite):
        folder = FOLDER

Suites called `Hand...` add to those of every folder what only hands have.
"""

from shared_tmu.runtime.torchvision import declare_operators

declare_operators()  # before Lightning imports torchvision
