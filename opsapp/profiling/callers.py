"""Which line of the application is it: the nearest frame that is not a library's."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType

from .. import config

DEEPEST = 80
"""Frames looked at; SQLAlchemy puts some fifteen between a statement and who wants it."""
MOST = 20_000
"""Functions remembered; who makes functions without end has them forgotten."""

_HERE = str(Path(__file__).parent)
_LIBRARIES = tuple(
    {f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib")} | {"<"},
)

Place = str
"""A file of the application and a function, ``shop/orders.py in total``; empty of a library."""


class Callers:
    """Knows the application's functions from those of libraries.

    :param packages: of installed packages, those that are the application's.
    """

    def __init__(self, packages: frozenset[str]) -> None:
        self._packages = packages
        # By id, since a code object hashes all that is in it; it is kept, so ids stay its own.
        self._known: dict[int, tuple[Place, CodeType]] = {}

    def nearest(self, frame: FrameType | None) -> tuple[Place, int]:
        """The place and the line nearest to ``frame``, going outwards; ``("", 0)`` is none."""
        known = self._known
        for _ in range(DEEPEST):
            if frame is None:
                break
            code = frame.f_code
            found = known.get(id(code))
            place = found[0] if found is not None else self._learn(code)
            if place:
                return place, frame.f_lineno
            frame = frame.f_back
        return "", 0

    def place(self, code: CodeType) -> Place:
        """Where this code is, if it is the application's."""
        found = self._known.get(id(code))
        return found[0] if found is not None else self._learn(code)

    def _learn(self, code: CodeType) -> Place:
        if len(self._known) >= MOST:
            self._known.clear()
        mine = self._is_ours(code.co_filename)
        place = f"{shown(code.co_filename)} in {code.co_qualname}" if mine else ""
        self._known[id(code)] = (place, code)
        return place

    def _is_ours(self, file: str) -> bool:
        if file.startswith(_HERE) or file.endswith(("/opsapp/unit.py", "/opsapp/engine.py")):
            return False  # They send everybody's statements.
        for folder in ("/site-packages/", "/dist-packages/"):
            if folder in file:
                inside = file.rpartition(folder)[2]
                return inside.partition("/")[0].removesuffix(".py") in self._packages
        return not file.startswith(_LIBRARIES)


def shown(file: str) -> str:
    """The file from the folder it is imported from: the same on every host."""
    roots = [
        root
        for root in (*sys.path, str(config.ROOT))
        if root and file.startswith(f"{root.rstrip('/')}/")
    ]
    return file[len(max(roots, key=len).rstrip("/")) + 1 :] if roots else Path(file).name


def line(place: Place, number: int) -> str:
    """``shop/orders.py:12 in total``; empty where no line of the application is known."""
    file, _in, function = place.partition(" in ")
    return f"{file}:{number} in {function}" if place else ""
