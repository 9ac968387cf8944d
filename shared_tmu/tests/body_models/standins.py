"""A hand in the official layout."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "golden" / "mano"


PICKLE = FOLDER / "standin_official_layout.pkl"
