"""Errors: the conditions that opsapp reports, each with its exit code and HTTP status.

=====================  ====  ====  ================================================================
class                  exit  http  says
=====================  ====  ====  ================================================================
OpsError                  1   500  failed; running it again will not help
├── InDoubt               1   500  the answer to its commit was lost
├── Invalid               2   422  invalid input; the message names the field
├── Conflict              3   409  conflicts with existing data
├── NotFound              4   404  no such user, role, grant, event or file
├── Refused               5   403  refused by a guard, or declined at the prompt
├── NotReady              7   503  database unreachable or behind, bad setting, unwritable audit log
├── OutputFailed         74   500  output not written; says whether the change is committed
├── Busy                 75   503  another process holds the lock; try again
└── TimedOut             124   504  timed out
=====================  ====  ====  ================================================================

Exit 0 is done, or already so; 6 is *finished with findings*: not an error but
an answer (a check failed), given by the command that found them. A signal N
ends a command with 128 + N. README and the documentation repeat this table,
and a test keeps the copies equal.
"""

from __future__ import annotations

DONE = 0
FINDINGS = 6
LONGEST = 1000
"""Characters of a message; what is longer repeats the whole of an input."""


def brief(message: str) -> str:
    """Return the message, cut in its middle if it is too long to be read."""
    if len(message) <= LONGEST:
        return message
    return f"{message[: LONGEST // 2]} … {message[-LONGEST // 4 :]}"


class OpsError(Exception):
    """It failed. ``message`` is one line; ``hint`` is the next command to type."""

    code = "failed"
    exit_code = 1
    http_status = 500

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(brief(message))
        self.message = brief(message)
        self.hint = None if hint is None else brief(hint)
        if self.hint is not None:
            self.add_note(f"→ {self.hint}")  # For the traceback of an application's own script.

    def record(self) -> dict[str, str | int | None]:
        """Return the JSON form of the error, the same on the terminal and in the API."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "exit_code": self.exit_code,
        }


class InDoubt(OpsError):
    """The answer to a commit was lost. The hint is the command that tells if it happened."""

    code = "in-doubt"


class Invalid(OpsError):
    """The input is not acceptable. The message begins with the name of the field."""

    code = "invalid"
    exit_code = 2
    http_status = 422

    @property
    def field(self) -> str:
        """The name of the field, as a person calls it."""
        return self.message.partition(" ")[0].rstrip(":")


class Conflict(OpsError):
    """The change conflicts with existing data."""

    code = "conflict"
    exit_code = 3
    http_status = 409


class NotFound(OpsError):
    """The requested object does not exist."""

    code = "not-found"
    exit_code = 4
    http_status = 404


class Refused(OpsError):
    """A guard refused, or the user declined."""

    code = "refused"
    exit_code = 5
    http_status = 403


class NotReady(OpsError):
    """The database is unreachable or behind its migrations, or the configuration is invalid."""

    code = "not-ready"
    exit_code = 7
    http_status = 503


class OutputFailed(OpsError):
    """The answer could not be written; the message says whether the work is committed."""

    code = "output-failed"
    exit_code = 74
    http_status = 500


class Busy(OpsError):
    """Another process holds the lock."""

    code = "busy"
    exit_code = 75
    http_status = 503


class TimedOut(OpsError):
    """It took longer than it may."""

    code = "timed-out"
    exit_code = 124
    http_status = 504
