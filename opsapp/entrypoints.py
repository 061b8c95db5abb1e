"""The table of contents: what `flask` lists, by subject, and where each command lives.

`flask` imports this module on every call, whatever is called, so it knows click
and nothing else; a command's own module is imported when somebody asks for it.
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
    """Let the garbage be: a command ends before it matters, and looking for it costs a third."""
    gc.set_threshold(200_000)
    atexit.register(gc.freeze)


class Lazy(click.Command):
    """A command or group that is imported when it is called or asked for help."""

    def __init__(self, name: str, module: str, help: str, *, attribute: str = "cli") -> None:
        super().__init__(name, help=help)
        self.module = module
        self.attribute = attribute

    @property
    def target(self) -> click.Command:
        """The real command."""
        command: click.Command = getattr(import_module(self.module), self.attribute)
        return command

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        # The context belongs to the real command, which click then invokes.
        _skip_collecting()
        from .cli.errors import remember_words, reported

        remember_words(args)
        with reported():
            return self.target.make_context(info_name, args, parent=parent, **extra)


def _ours(name: str, module: str, help: str, attribute: str = "cli") -> Lazy:
    return Lazy(name, f"opsapp.commands.{module}", help, attribute=attribute)


users = _ours("users", "users.accounts", "Create, find, change and delete accounts.")
profile = _ours("profile", "profile.report", "See where the time goes, and profile what is slow.")
roles = _ours("roles", "roles", "Define roles; grant and revoke them.")
audit = _ours("audit", "audit", "Read and verify who did what.")
db = _ours("db", "db", "Set up, migrate, inspect and back up the database.")
jobs = _ours("jobs", "jobs.history", "Run cron's jobs: never two at once, with a history.")
mail = _ours("mail", "mail", "See the mail that waits, and send it.")
shell = _ours("shell", "shell.session", "Start a Python console with the application.")
query = _ours("query", "query", "Run one SQL statement that reads, and audit it.")
doctor = _ours("doctor", "doctor", "Check the installation and say what to fix.")
completion = _ours("completion", "completion", "Print the completion script of a shell.")
init_db = _ours("init-db", "shortcuts", "Short for `flask db init`.", "init_db")
create_admin = _ours(
    "create-admin", "shortcuts", "Short for `flask users create-admin`.", "create_admin"
)

SUBJECTS: dict[str, tuple[Lazy, ...]] = {
    "Who may do what": (users, roles, create_admin),
    "The database": (db, init_db, query, shell),
    "What runs by itself": (jobs, mail),
    "What happened, and how it is": (audit, profile, doctor),
    "This terminal": (completion,),
}
"""What `flask --help` lists, in its order."""


def list_by_subject(group: click.Group) -> None:
    """Let the help of ``group`` list our commands by subject, after everybody else's.

    Flask's group is not ours, and is in the middle of listing when it imports us. What
    it asks for afterwards is whether a command is hidden, and the epilog.
    """
    shown = [command for commands in SUBJECTS.values() for command in commands]

    def format_epilog(ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(command.name or "") for command in shown)
        for subject, commands in SUBJECTS.items():
            with formatter.section(subject):
                formatter.write_dl(
                    [(f"{command.name:{width}}", command.help or "") for command in commands]
                )
        type(group).format_epilog(group, ctx, formatter)

    group.format_epilog = format_epilog  # type: ignore[method-assign]
    # A shell that completes passes over hidden commands.
    if not any(name.startswith("_") and name.endswith("_COMPLETE") for name in os.environ):
        for command in shown:
            command.hidden = True


def _flask_group() -> click.Group:
    from flask.cli import cli

    return cli


list_by_subject(_flask_group())
# Here, for what Flask itself prints: its help, and what the commands of others say.
streams.prepare()


def main() -> None:
    """`opsapp`: `flask --app opsapp`, for places without `.flaskenv`."""
    os.environ["FLASK_APP"] = "opsapp"  # In the environment, for the jobs that it starts.
    from .cli.errors import reported

    with reported():
        _check_env_files()
    _flask_group().main()


def _check_env_files() -> None:
    """Read the files that Flask is about to read: there, an error would be a traceback.

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
