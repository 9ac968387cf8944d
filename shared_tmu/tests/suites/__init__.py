"""Tests that every hand folder passes: written once, run by each folder on its own model.

A folder's `tests/folder.py` describes the folder (`HandFolder`); its test modules name a class per suite:

    class TestLoading(LoadingSuite):
        hands = FOLDER
"""
