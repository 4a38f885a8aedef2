"""Names for structures that are called after their file or folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

OWN_FILES = ("vasp", "structure")
"""Formats in which a structure is named by its file or folder: such names are chance, and may be longer."""


def longer_names(structure_id: str, path: str) -> Iterator[str]:
    """The name behind more and more of the folders above the file."""
    parts = Path(path).parent.parts[1:]
    tails = [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
    by_folder = any(tail == structure_id for tail in tails)  # a run is named by the end of its folder's path
    for tail in tails:
        if not by_folder:
            yield f"{tail}.{structure_id}"
        elif tail.endswith(f".{structure_id}"):
            yield tail
