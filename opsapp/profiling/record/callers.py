"""Callers: the line of the application that sends a statement.

It is the nearest frame outside of a library. See
docs/decisions/profiling.md#statements-are-noticed-in-the-dialect.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from sys import _getframe
from types import CodeType, FrameType

from ...engine import connections
from ...unit import work
from ..paths import relative_path

DEEPEST = 80
"""The most frames to search; SQLAlchemy puts some fifteen between a statement and its caller."""
MOST = 20_000
"""The most functions to remember; code that keeps creating functions empties the memory."""
MOST_STATEMENTS = 5000
"""The most statements to remember with their origin."""
LONGEST = 10_000
"""The most characters of a statement."""

_HERE = f"{Path(__file__).parent}/"
_senders = {work.__file__, connections.__file__}
"""Files that send the statements of every caller, and so are never the caller."""
_recorders: set[str] = set()
_INPUTS = ("<ipython-input-", "<-c>", "<->")
"""The files of what a user runs in the console."""
_doors: set[tuple[str, str]] = set()
_LIBRARIES = tuple(
    {f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib")} | {"<"},
)


class Place:
    """A function of the application, whose lines are computed when they are written."""

    __slots__ = ("code", "text")

    def __init__(self, code: CodeType) -> None:
        self.code = code
        file = code.co_filename
        # Each input has a name of its own, which would make each a series of its own.
        name = "<input>" if file.startswith(_INPUTS[0]) else relative_path(file)
        self.text = f"{name} in {code.co_qualname}"

    def line(self, instruction: int) -> str:
        """Return ``shop/orders.py:12 in total``, given an instruction's offset."""
        number = self.code.co_firstlineno
        for start, end, line in self.code.co_lines():
            if start <= instruction < end and line is not None:
                number = line
                break
        file, _in, function = self.text.partition(" in ")
        return f"{file}:{number} in {function}"


Statement = tuple[str, Place | None, int]
"""The text of a statement, the function that sent it, and the offset of its instruction."""


class Callers:
    """The memory of each function: whether it is the application's or a library's.

    :param packages: the installed packages that belong to the application.
    """

    def __init__(self, packages: frozenset[str]) -> None:
        self._packages = packages
        # By id, because hashing a code object is slow; keeping the object keeps its id unique.
        self._known: dict[int, tuple[Place | None, CodeType]] = {}
        self._hints: dict[str, tuple[int, Statement]] = {}

    def nearest(self, statement: str) -> Statement:
        """Return the statement with the nearest function of the application.

        The search through the frames is the largest cost of recording a statement. So the
        origin of the same statement before is tried first.
        """
        hint = self._hints.get(statement)
        if hint is None:
            return self._search(statement, _getframe(1))
        depth, hint_statement = hint
        try:
            frame = _getframe(depth)
        except ValueError:  # The stack is not that deep.
            return self._search(statement, _getframe(1))
        place, instruction = hint_statement[1], frame.f_lasti
        if place is not None and place.code is frame.f_code and instruction == hint_statement[2]:
            return hint_statement
        place = self.place(frame.f_code)
        # Another caller at the same depth, unless a nearer frame is the application's.
        if place is not None and self.place(_getframe(depth - 1).f_code) is None:
            return hint_statement[0], place, instruction
        return self._search(statement, _getframe(1))

    def _search(self, statement: str, frame: FrameType | None) -> Statement:
        head = statement[:LONGEST]
        for depth in range(1, DEEPEST):
            if frame is None:
                break
            place = self.place(frame.f_code)
            if place is not None:
                origin = head, place, frame.f_lasti
                self._remember(statement, depth, origin)
                return origin
            frame = frame.f_back
        return head, None, 0

    def _remember(self, statement: str, depth: int, origin: Statement) -> None:
        # Long statements with values in their text would fill the memory.
        if len(statement) <= LONGEST:
            if len(self._hints) >= MOST_STATEMENTS:
                self._hints.clear()
            self._hints[statement] = depth, origin

    def place(self, code: CodeType) -> Place | None:
        """Return the place of this code if it is the application's, else None."""
        entry = self._known.get(id(code))
        return entry[0] if entry is not None else self._learn(code)

    def _learn(self, code: CodeType) -> Place | None:
        if len(self._known) >= MOST:
            self._known.clear()
        place = Place(code) if self._is_ours(code.co_filename) else None
        self._known[id(code)] = (place, code)
        return place

    def _is_ours(self, file: str) -> bool:
        if is_recorder(file) or file in _senders:
            return False
        if file.startswith(_INPUTS):
            return True
        for folder in ("/site-packages/", "/dist-packages/"):
            if folder in file:
                inside = file.rpartition(folder)[2]
                return inside.partition("/")[0].removesuffix(".py") in self._packages
        return not file.startswith(_LIBRARIES)


def is_recorder(file: str) -> bool:
    """Tell whether the file belongs to the recorder, whose frames no report shows."""
    return file.startswith(_HERE) or file in _recorders


def mark_recorder(file: str) -> None:
    """Declare a file elsewhere as one of the recorder."""
    _recorders.add(file)


def mark_sender(file: str) -> None:
    """Declare a file as one that sends the statements of others, and is never their caller."""
    _senders.add(file)


def mark_door(code: CodeType) -> None:
    """Declare a function as the one that calls the application: further out is the server."""
    _doors.add((code.co_filename, code.co_name))


def is_door(file: str, function: str) -> bool:
    """Tell whether a function, by its plain name, is one of those marked as a door."""
    return (file, function) in _doors
