"""Tracebacks: the frames of the application, without those of SQLAlchemy and of the console."""

from __future__ import annotations

from types import TracebackType

from sqlalchemy.exc import SQLAlchemyError

from ..redaction import redacted_traceback

_LIBRARIES = frozenset({"sqlalchemy", "flask_sqlalchemy", "psycopg", "IPython"})
_CONSOLE = ("opsapp.console.", "opsapp.commands.shell.")


def of_application(error: Exception) -> str:
    """Return the traceback of ``error``; an error of SQLAlchemy shows no frame of a library."""
    is_of_library = isinstance(error, SQLAlchemyError)
    if is_of_library:
        error.__suppress_context__, error.__cause__ = True, None
    frames = _without(error.__traceback__, _LIBRARIES if is_of_library else frozenset())
    return redacted_traceback(error.with_traceback(frames)).rstrip("\n")


def _without(trace: TracebackType | None, libraries: frozenset[str]) -> TracebackType | None:
    if trace is None:
        return None
    following = _without(trace.tb_next, libraries)
    module = str(trace.tb_frame.f_globals.get("__name__"))
    if module.partition(".")[0] in libraries or module.startswith(_CONSOLE):
        return following
    return TracebackType(following, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
