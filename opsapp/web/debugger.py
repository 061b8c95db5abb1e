"""Refusal to serve with Werkzeug's debugger, which runs any code, outside development."""

from __future__ import annotations

from functools import wraps
from typing import Any

import click
from flask import Flask
from flask.helpers import get_debug_flag

from .. import settings
from ..errors import NotReady


def refuse_debugger(app: Flask) -> None:
    """Return if this process serves without a debugger; ``app.run()`` refuses one later.

    :raises NotReady: ``FLASK_DEBUG``, ``flask run --debug`` or ``--debugger`` starts one.
    """
    context = click.get_current_context(silent=True)
    # `flask run --debugger` wraps the application without telling it.
    if app.debug or (context is not None and context.params.get("debugger")):
        raise _refusal(app)
    _refuse_in_run(app)


def _refuse_in_run(app: Flask) -> None:
    """Let ``app.run()`` end the process with a line and exit code 7 instead of a debugger."""
    run = app.run

    @wraps(run)
    def checked_run(
        host: str | None = None,
        port: int | None = None,
        debug: bool | None = None,
        load_dotenv: bool = True,
        **options: Any,
    ) -> None:
        is_on = app.debug or get_debug_flag() if debug is None else debug
        if is_on or options.get("use_debugger"):
            error = _refusal(app)
            click.echo(f"Error: {error}\n  → {error.hint}", err=True)
            raise SystemExit(error.exit_code)
        run(host, port, debug, load_dotenv, **options)

    app.run = checked_run  # type: ignore[method-assign]


def _refusal(app: Flask) -> NotReady:
    return NotReady(
        "the debugger (FLASK_DEBUG, --debug, debug=True) runs any code,"
        f" and OPSAPP_ENV is {settings.of(app, 'OPSAPP_ENV')}",
        hint="unset FLASK_DEBUG, and serve without --debug, --debugger and debug=True",
    )
