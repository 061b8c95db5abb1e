"""The form of a finding, and errors as findings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from .. import extras, text
from ..engine import conditions
from ..errors import OpsError

Finding = dict[str, Any]
Check = Callable[[], Finding]


def finding(check: str, state: str, message: str, advice: str | None = None) -> Finding:
    """Return one line of the report; ``state`` is ``ok``, ``warn`` or ``fail``."""
    return {"state": state, "check": check, "says": message, "advice": advice}


def run_check(check: str, function: Check) -> Finding:
    """Return the finding of a check; one that cannot be made is a failure itself."""
    try:
        return function()
    except OpsError as error:
        return finding(check, "fail", error.message, _advice(error.hint))
    except ModuleNotFoundError as error:
        if (lack := extras.missing(error)) is None:
            raise
        return finding(check, "warn", lack.message, lack.hint)
    except SQLAlchemyError as error:
        condition = conditions.translate_error(error)
        message = condition.message if condition else text.first_line(error)
        return finding(check, "fail", message, _advice(condition.hint) if condition else None)


def _advice(hint: str | None) -> str:
    # Doctor is what the other commands send people to; here the way ends.
    return hint if hint and hint != "flask doctor" else "see docs/troubleshooting.md"
