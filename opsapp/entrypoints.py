"""Entry points: the commands that `flask` lists, by subject, and their modules.

`flask` imports this module on every call, so it imports click only. The module of a
command is imported when the command runs or prints its help.
"""

from __future__ import annotations

import atexit
import gc
import os
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from .cli import streams


@cache
def _skip_collecting() -> None:
    """Collect garbage rarely: commands are short, and collecting costs a third of their time."""
    gc.set_threshold(200_000)
    atexit.register(gc.freeze)


class Lazy(click.Command):
    """A command or group that is imported when it runs or prints its help."""

    def __init__(self, name: str, module: str, help: str, *, attribute: str = "cli") -> None:
        super().__init__(name, help=help)
        self.module = module
        self.attribute = attribute

    @property
    def target(self) -> click.Command:
        """Import the command."""
        command: click.Command = getattr(import_module(self.module), self.attribute)
        return command

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        # Click invokes the command of the context: the imported one.
        _skip_collecting()
        from .cli.errors import remember_words, reported

        remember_words(args)
        with reported():
            return self.target.make_context(info_name, args, parent=parent, **extra)


def _ours(name: str, module: str, help: str, attribute: str = "cli") -> Lazy:
    return Lazy(name, f"opsapp.commands.{module}", help, attribute=attribute)


users = _ours("users", "users.accounts", "Manage accounts, sessions, tokens and passwords.")
profile = _ours(
    "profile", "profile.report", "Report and profile slow requests, commands and queries."
)
roles = _ours("roles", "roles", "Manage roles and their grants.")
audit = _ours("audit", "audit", "Read and verify the audit log.")
db = _ours("db", "db", "Set up, migrate, inspect and back up the database.")
jobs = _ours("jobs", "jobs.history", "Run cron jobs one at a time, with a history.")
mail = _ours("mail", "mail", "List and send queued mail.")
shell = _ours("shell", "shell.session", "Start a Python shell with the application.")
query = _ours("query", "query", "Run a read-only SQL statement.")
doctor = _ours("doctor", "doctor", "Check the installation for problems.")
completion = _ours("completion", "completion", "Print a completion script for your shell.")
init_db = _ours("init-db", "shortcuts", "Short for `flask db init`.", "init_db")
create_admin = _ours(
    "create-admin", "shortcuts", "Short for `flask users create-admin`.", "create_admin"
)

SUBJECTS: dict[str, tuple[Lazy, ...]] = {
    "Users and roles": (users, roles, create_admin),
    "Database": (db, init_db, query, shell),
    "Background work": (jobs, mail),
    "Monitoring": (audit, profile, doctor),
    "Terminal": (completion,),
}
"""The commands of `flask --help`, in its order."""


def list_by_subject(group: click.Group) -> None:
    """List our commands by subject in the help of ``group``, after all other commands.

    Flask imports us while it lists its commands. Afterwards it asks only for the commands
    that are hidden, and for the epilog.
    """
    ours = [command for commands in SUBJECTS.values() for command in commands]

    def format_epilog(ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(command.name or "") for command in ours)
        for subject, commands in SUBJECTS.items():
            with formatter.section(subject):
                formatter.write_dl(
                    [(f"{command.name:{width}}", command.help or "") for command in commands]
                )
        type(group).format_epilog(group, ctx, formatter)

    group.format_epilog = format_epilog  # type: ignore[method-assign]
    # Completion skips hidden commands.
    if not any(name.startswith("_") and name.endswith("_COMPLETE") for name in os.environ):
        for command in ours:
            command.hidden = True


def _flask_group() -> click.Group:
    from flask.cli import cli

    return cli


list_by_subject(_flask_group())
# Here, so that it holds for Flask's own help, and for commands of other packages.
streams.prepare()


def main() -> None:
    """Run `flask --app opsapp`, as the program `opsapp` does."""
    os.environ["FLASK_APP"] = "opsapp"  # In the environment, for the jobs that it starts.
    from .cli.errors import reported

    with reported():
        _check_env_files()
    _flask_group().main()


def _check_env_files() -> None:
    """Read the files that Flask reads next, where an error would be a traceback.

    :raises NotReady: the current folder or one of the files cannot be read.
    """
    from dotenv import dotenv_values, find_dotenv
    from flask.helpers import get_load_dotenv

    from .errors import NotReady
    from .text import reason

    path = str(Path.cwd())
    try:
        for name in (".flaskenv", ".env") if get_load_dotenv() else ():
            path = find_dotenv(name, usecwd=True) or path
            if Path(path).is_file():  # A pipe can be read only once.
                dotenv_values(path, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotReady(f"{path} cannot be read: {reason(error)}") from error
