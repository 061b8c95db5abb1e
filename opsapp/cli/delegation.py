"""Delegation: commands that an application not built on opsapp keeps for itself.

Entry points add commands to every Flask application of an environment, and win over Flask's
and the application's own of the same name. So each of ours asks whose application it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..factory import without_web
from ..state import is_built_on
from .deferred import LazyCommand
from .help import IN_OPS

if TYPE_CHECKING:
    from flask import Flask
    from flask.cli import ScriptInfo


def is_ours(ctx: click.Context) -> bool:
    """Return whether the application is built on opsapp, or there is none.

    An application that cannot be loaded counts as another's: what Flask and its extensions
    print of it, and their exit codes, stay those from before opsapp was installed. Only where
    nothing else has the command, our frame says why it cannot be loaded.
    """
    from flask.cli import ScriptInfo

    info = ctx.ensure_object(ScriptInfo)
    if info.create_app is None and is_named(info.app_import_path):
        return True  # Known without loading it, as help and completion want it.
    app = _load_app(info)
    return not _is_there(info) if app is None else is_built_on(app)


def is_loadable(ctx: click.Context) -> bool:
    """Return whether the application can be loaded; if not, our frame says why."""
    from flask.cli import ScriptInfo

    return _load_app(ctx.ensure_object(ScriptInfo)) is not None


def _is_there(info: ScriptInfo) -> bool:
    """Return whether Flask finds an application to load, by a name or by a file."""
    is_named = info.create_app is not None or info.app_import_path is not None
    return is_named or any(Path(name).exists() for name in _FILES)


_FILES = ("wsgi.py", "app.py", "wsgi", "app")
"""The modules and packages of the current folder that Flask loads an application from."""


def is_named(import_path: str | None) -> bool:
    """Return whether the path of an application, as ``FLASK_APP`` has it, is opsapp's own."""
    return (import_path or "").partition(":")[0] == "opsapp"


def _load_app(info: ScriptInfo) -> Flask | None:
    if info.data.get(_FAILED):
        return None  # The list of commands asks many times.
    try:
        with without_web():
            return info.load_app()
    except Exception:  # noqa: BLE001  (our frame loads it again, and says why it fails)
        info.data[_FAILED] = True
        return None


_FAILED = "opsapp.failed"


def command_of(ctx: click.Context, name: str) -> click.Command | None:
    """Return the command that ``flask NAME`` would be without opsapp, or that ``Ops`` names so.

    :param ctx: the context of the group that lists ours.
    """
    from flask.cli import ScriptInfo

    app = _load_app(ctx.ensure_object(ScriptInfo))
    own_command = None if app is None else app.cli.commands.get(name)
    if isinstance(own_command, Named):
        return own_command
    for entry in _plugins(name):
        plugin: click.Command = entry.load()
        return plugin
    for command in _builtins():
        if command.name == name:
            return command
    return None if app is None else app.cli.get_command(ctx, name)


def is_own(name: str, command: click.Command) -> bool:
    """Return whether a command of a group is of its program, neither Flask's nor a plugin's."""
    return command not in _builtins() and not any(_plugins(name))


def _plugins(name: str) -> Iterator[metadata.EntryPoint]:
    """Yield the entry points by which other plugins have a command of this name."""
    for entry in metadata.entry_points(group="flask.commands", name=name):
        if not entry.value.startswith("opsapp."):
            yield entry


def _builtins() -> tuple[click.Command, ...]:
    from flask.cli import routes_command, run_command, shell_command

    return run_command, shell_command, routes_command


# --- names that an application gives to ours ---------------------------------


class Named(LazyCommand):
    """A command of ``flask ops`` under a name of its own."""

    def __init__(self, name: str, group: LazyCommand, original: str) -> None:
        super().__init__(name, group.module, f"The same as flask {group.name} {original}.")
        self.ours = original

    @property
    def target(self) -> click.Command:
        """Import the command.

        :raises UsageError: ``flask ops`` has none of that name.
        """
        group: Any = super().target
        command = group.commands.get(self.ours)
        if command is None:
            raise click.UsageError(
                f"Ops(commands=…) names {self.ours!r}, and flask ops has no such command"
            )
        target: click.Command = command.target
        return target

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        if parent is not None:
            parent.meta[IN_OPS] = True
        return super().make_context(info_name, args, parent=parent, **extra)


def add_names(app: Flask, group: LazyCommand, commands: Mapping[str, str]) -> None:
    """Give commands of ``flask ops`` names beside the application's own commands.

    :param group: ``flask ops``.
    :param commands: the names, by our commands.
    """
    for original, name in commands.items():
        app.cli.add_command(Named(name, group, original))


def in_ops(name: str) -> str:
    """Return the command of an attached application that does what ours of this name does."""
    return {"db": "ops status", "init-db": "ops init", "create-admin": "ops users"}.get(
        name, f"ops {name}"
    )


def unknown(ctx: click.Context | None, name: str) -> click.UsageError:
    """Return the error of a name that the application does not have."""
    return click.UsageError(f"No such command {name!r}. Did you mean {in_ops(name)!r}?", ctx=ctx)
