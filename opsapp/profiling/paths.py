"""Paths of source files, the same on every host."""

from __future__ import annotations

import sys
from pathlib import Path

from ..settings import config


def relative_path(file: str) -> str:
    """Return the file below the folder that it is imported from: the same on every host."""
    roots = [
        root
        for root in (*sys.path, str(config.ROOT))
        if root and file.startswith(f"{root.rstrip('/')}/")
    ]
    return file[len(max(roots, key=len).rstrip("/")) + 1 :] if roots else Path(file).name


OURS = (
    relative_path(f"{config.PACKAGE}/"),
    f"{relative_path(str(config.migrations_folder() / 'env.py'))}:",
)
"""The start of each line of opsapp itself, whose repeats are no finding in an application."""
