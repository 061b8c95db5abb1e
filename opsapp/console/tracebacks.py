"""Tracebacks: the frames of inputs and of the application, without SQLAlchemy's and ours."""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterator
from types import TracebackType

from sqlalchemy.exc import SQLAlchemyError

from .. import text
from ..redaction import redact_traceback

_OURS = frozenset({"opsapp"})
_LIBRARIES = frozenset({"sqlalchemy", "flask_sqlalchemy", "psycopg", "IPython"})
_INPUT = re.compile(r'File "(<ipython-input-[^"]*>)"')
LONGEST = 40
"""The most characters of an input's first line in a traceback."""


def of_application(error: Exception) -> str:
    """Return the traceback of ``error``; an error of SQLAlchemy shows no frame of a library."""
    is_of_library = isinstance(error, SQLAlchemyError)
    if is_of_library:
        error.__suppress_context__, error.__cause__ = True, None
    folders = _OURS | _LIBRARIES if is_of_library else _OURS
    before = {each: each.__traceback__ for each in _chain(error)}
    for each, trace in before.items():
        each.__traceback__ = _without(trace, folders)
    try:
        report = redact_traceback(error).rstrip("\n")
    finally:
        for each, trace in before.items():  # For %tb.
            each.__traceback__ = trace
    return _INPUT.sub(lambda match: f"Input {first_line(match[1])}", report)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and those before it that its traceback shows too."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def without_ours(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of opsapp; whole, if no other frame raised it."""
    return _without(trace, _OURS) or trace


def first_line(file: str) -> str:
    """Return the first line of an input in quotes, by the name of its code."""
    line = linecache.getline(file, 1).strip()
    return repr(text.safe(line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"))


def _without(trace: TracebackType | None, libraries: frozenset[str]) -> TracebackType | None:
    if trace is None:
        return None
    following = _without(trace.tb_next, libraries)
    package = str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
    if package in libraries:
        return following
    return TracebackType(following, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
