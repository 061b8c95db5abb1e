"""Yielding: on an application that is not built on opsapp, a command hands over to its own.

Entry points add commands to every Flask application of an environment, and win over Flask's
and the application's own of the same name. So each of ours asks whose application it is.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

import click

from ..factory import without_web
from ..state import is_built_on

if TYPE_CHECKING:
    from flask import Flask
    from flask.cli import ScriptInfo


def is_ours(ctx: click.Context) -> bool:
    """Return whether the application is built on opsapp, or there is none.

    An application that cannot be loaded counts as ours only where nothing else has the
    command: our frame says then why it cannot be loaded.
    """
    from flask.cli import ScriptInfo

    info = ctx.ensure_object(ScriptInfo)
    if is_named(info.app_import_path):
        return True  # Known without loading it, as help and completion want it.
    app = _loaded(info)
    return app is None or is_built_on(app)


def is_named(import_path: str | None) -> bool:
    """Return whether the path of an application, as ``FLASK_APP`` has it, is opsapp's own."""
    return (import_path or "").partition(":")[0] == "opsapp"


def _loaded(info: ScriptInfo) -> Flask | None:
    try:
        with without_web():
            return info.load_app()
    except Exception:  # noqa: BLE001  (our frame loads it again, and says why it fails)
        return None


def command_of(ctx: click.Context, name: str) -> click.Command | None:
    """Return the command that ``flask NAME`` would be without opsapp.

    :param ctx: the context of the group that lists ours.
    """
    from flask.cli import ScriptInfo, routes_command, run_command, shell_command

    for entry in metadata.entry_points(group="flask.commands", name=name):
        if not entry.value.startswith("opsapp."):
            plugin: click.Command = entry.load()
            return plugin
    for command in (run_command, shell_command, routes_command):
        if command.name == name:
            return command
    app = _loaded(ctx.ensure_object(ScriptInfo))
    return None if app is None else app.cli.get_command(ctx, name)


def in_ops(name: str) -> str:
    """Return the command of an attached application that does what ours of this name does."""
    return {"db": "ops status", "init-db": "ops init", "create-admin": "ops users"}.get(
        name, f"ops {name}"
    )


def unknown(ctx: click.Context | None, name: str) -> click.UsageError:
    """Return the error of a name that the application does not have."""
    return click.UsageError(f"No such command {name!r}. Did you mean {in_ops(name)!r}?", ctx=ctx)
