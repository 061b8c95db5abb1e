"""Refusal to serve with Werkzeug's debugger, which runs any code, outside development."""

from __future__ import annotations

import click
from flask import Flask

from ..errors import NotReady


def refuse_debugger(app: Flask) -> None:
    """Return if this process serves without a debugger.

    :raises NotReady: ``FLASK_DEBUG``, ``flask run --debug`` or ``--debugger`` starts one.
    """
    context = click.get_current_context(silent=True)
    # `flask run --debugger` wraps the application without telling it.
    if app.debug or (context is not None and context.params.get("debugger")):
        raise NotReady(
            f"the debugger runs any code, and OPSAPP_ENV is {app.config['OPSAPP_ENV']}",
            hint="unset FLASK_DEBUG, and serve without --debug and --debugger",
        )
