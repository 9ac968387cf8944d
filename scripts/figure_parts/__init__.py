"""The parts of `figures.py`: one file for each kind of figure, one for their style."""
