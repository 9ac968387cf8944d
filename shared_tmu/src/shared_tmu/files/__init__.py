"""Reading and writing files: only regular ones, written completely or not at all, never executed."""

from .regular import (
    drop_halves,
    is_file,
    is_folder,
    open_file,
    printable,
    read_limited,
    replacing,
    shortened,
    write_target,
    write_text,
)

__all__ = [
    "drop_halves",
    "is_file",
    "is_folder",
    "open_file",
    "printable",
    "read_limited",
    "replacing",
    "shortened",
    "write_target",
    "write_text",
]
