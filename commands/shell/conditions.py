"""Conditions at the prompt: an error of ours or of the database as a line, not as a traceback."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from opsapp import text
from opsapp.cli.messages import say
from opsapp.console import interrupts, readonly, tracebacks
from opsapp.engine.fingerprint import undouble_percents
from opsapp.errors import OpsError
from opsapp.extensions import db


def tell(error: BaseException, *, may_commit: bool, has_magics: bool = False) -> None:
    """Say what happened, in a line or with the frames of the application.

    :param has_magics: whether ``%tb`` can show the traceback.
    """
    if interrupts.is_interruption(error):
        say(f"Interrupted{'; %tb shows where' if has_magics else ''}.")
    elif isinstance(error, OpsError):
        _say(error, error.message, error.hint)
    elif isinstance(error, DBAPIError):
        is_refused = not may_commit and readonly.is_refused_write(error)
        hint = f"this session is read-only: {readonly.other_modes()}" if is_refused else None
        _say(error, text.first_line(error.orig or error), hint or _statement(error))
    elif isinstance(error, Exception):
        for line in tracebacks.of_application(error).split("\n"):
            say(line)
        if has_magics:
            say("  → %tb shows the frames of the libraries")


def _say(error: Exception, message: str, hint: str | None) -> None:
    say(f"{type(error).__name__}: {message}")
    if hint:
        say(f"  → {hint}")


def _statement(error: DBAPIError) -> str | None:
    query = undouble_percents(error.statement or "", db.engine.dialect.paramstyle)
    statement = " ".join(query.split())
    return f"it was: {statement[:200]}" if statement else None
