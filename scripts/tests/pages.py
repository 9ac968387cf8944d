"""All pages of the repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("*_TMU/*.md"),
        *ROOT.glob("*_TMU/weights/*.md"),
        *ROOT.glob("shared_tmu/*.md"),
        *ROOT.glob("assets/*/*.md"),
    ]
)
