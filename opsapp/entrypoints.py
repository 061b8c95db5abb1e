"""Entry points: the commands that `flask` lists, by subject, and their modules.

`flask` imports this module on every call, so it imports click only. The module of a
command is imported when the command runs or prints its help.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cli import delegation, streams
from .cli.deferred import LazyCommand as LazyCommand  # Applications take it from here.
from .cli.deferred import Subjects, write_subjects
from .errors import OpsError

if TYPE_CHECKING:
    from flask.cli import FlaskGroup


class Yielding(LazyCommand):
    """A command of ours, which is another one's on an application that is not built on opsapp."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Return the context of the real command, ours or the application's.

        :raises UsageError: the application is not built on opsapp, and has no such command.
        """
        if parent is None or delegation.is_ours(parent):
            return super().make_context(info_name, args, parent=parent, **extra)
        command = delegation.command_of(parent, str(self.name))
        if command is None and delegation.is_loadable(parent):
            raise delegation.unknown(parent, str(self.name))
        if command is None:
            return super().make_context(info_name, args, parent=parent, **extra)
        return command.make_context(info_name, args, parent=parent, **extra)

    def _stands_for(self) -> click.Command | None:
        """Return the application's own command, while its help is written."""
        ctx = click.get_current_context(silent=True)
        if ctx is None or delegation.is_ours(ctx):
            return None
        return delegation.command_of(ctx, str(self.name))

    @property
    def hidden(self) -> bool:
        """True if the list of commands leaves it out: ours are listed by subject, below it."""
        if click.get_current_context(silent=True) is None:
            return False  # A shell that completes passes over hidden commands.
        command = self._stands_for()
        return command is None or command.hidden

    @hidden.setter
    def hidden(self, hidden: bool) -> None:
        """Ignore click, which sets it for every command."""

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the line of the command that it stands for."""
        command = self._stands_for()
        return (
            super().get_short_help_str(limit)
            if command is None
            else command.get_short_help_str(limit)
        )


class Attaching(LazyCommand):
    """A group for every application but one that is built on opsapp, which has its commands."""

    @property
    def hidden(self) -> bool:
        """True if the list of commands leaves it out."""
        ctx = click.get_current_context(silent=True)
        return ctx is not None and delegation.is_ours(ctx)

    @hidden.setter
    def hidden(self, hidden: bool) -> None:
        """Ignore click, which sets it for every command."""


def _ours(name: str, module: str, help: str, attribute: str = "cli") -> Yielding:
    return Yielding(name, f"opsapp.commands.{module}", help, attribute=attribute)


users = _ours("users", "users.accounts", "Manage accounts, sessions, tokens and passwords.")
profile = _ours(
    "profile", "profile.report", "Report and profile slow requests, commands and queries."
)
roles = _ours("roles", "roles.definitions", "Manage roles and their grants.")
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

ops = Attaching(
    "ops", "opsapp.commands.ops", "Operate this application: users, jobs, audit, queries."
)

SUBJECTS: Subjects = {
    "Users and roles": (users, roles, create_admin),
    "Database": (db, init_db, query, shell),
    "Background work": (jobs, mail),
    "Monitoring": (audit, profile, doctor),
    "Terminal": (completion,),
}
"""The commands of `flask --help`, in its order."""


def list_by_subject(group: click.Group) -> None:
    """Let the help of ``group`` list our commands by subject, after those of others.

    Flask's group is not ours, and is in the middle of loading its plugins when it imports
    us. It asks for the epilog once it has listed the commands that are not hidden.
    """

    def format_epilog(ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if delegation.is_ours(ctx):
            streams.prepare()  # Help has no frame that would do it.
            write_subjects(SUBJECTS, formatter)
        type(group).format_epilog(group, ctx, formatter)

    group.format_epilog = format_epilog  # type: ignore[method-assign]


class Commands(dict[str, click.Command]):
    """The commands of a group that loads plugins, each under the name of its owner.

    Flask lets a plugin replace what a group has. A program that is a group of its own keeps its
    commands. Ours takes the place of another plugin's, to which it hands over: the order of
    plugins is that of a folder, so it differs from host to host.
    """

    def __init__(self, group: FlaskGroup) -> None:
        super().__init__(group.commands)
        self.group = group

    def __setitem__(self, name: str, command: click.Command) -> None:
        """Add a command, unless the name is another one's."""
        if not self._is_taken(name, command):
            super().__setitem__(name, command)

    def _is_taken(self, name: str, command: click.Command) -> bool:
        present = self.get(name)
        if present is None:
            return False
        if isinstance(command, Yielding | Attaching):
            return self.group is not _flask_group() and delegation.is_own(name, present)
        # A program may replace ours later.
        is_plugin = not self.group._loaded_plugin_commands  # noqa: SLF001  (nothing else tells)
        return isinstance(present, Yielding) and is_plugin


def keep_names() -> None:
    """Let the group that loads its plugins just now, and Flask's own, keep names in place."""
    from flask.cli import FlaskGroup

    groups = [_flask_group()]
    ctx = click.get_current_context(silent=True)
    while ctx is not None:
        if isinstance(ctx.command, FlaskGroup):
            groups.append(ctx.command)
        ctx = ctx.parent
    for group in groups:
        if not isinstance(group.commands, Commands):
            group.commands = Commands(group)


def report_unknown_names() -> None:
    """Let `flask nosuch --format json` print one JSON object, as our own groups do.

    Flask's group imports us while it looks the name up. Then it asks the context for another
    spelling of a name that is not there.
    """
    root = click.get_current_context(silent=True)
    if root is None:
        return
    from .cli import messages

    messages.remember_words(sys.argv[1:])
    if not messages.is_for_programs(messages.wanted_format()):
        return

    def other_spelling(word: str) -> str:
        # Contexts of commands inherit it, for the names of their options.
        if click.get_current_context() is root:
            from .cli.errors import exit_with
            from .errors import Invalid

            exit_with(Invalid(f"No such command {word!r}."))
        return word

    root.token_normalize_func = other_spelling


def report_errors(command: click.Command) -> None:
    """Let a command of Flask report our errors as our commands do."""

    def invoke(ctx: click.Context) -> Any:
        try:
            return type(command).invoke(command, ctx)
        except OpsError as error:
            from .cli.errors import exit_with

            exit_with(error)

    command.invoke = invoke  # type: ignore[method-assign]


def _flask_group() -> FlaskGroup:
    from flask.cli import cli

    return cli


list_by_subject(_flask_group())
for name in ("run", "routes"):
    report_errors(_flask_group().commands[name])
keep_names()
report_unknown_names()
if delegation.is_named(os.environ.get("FLASK_APP")):
    streams.prepare()  # Here, so that it holds for Flask's own commands as well.


HELP = """Manage an application: its users, roles, database, jobs and audit.

\b
Start here:
  opsapp db init
  opsapp users create-admin ada@example.com
  opsapp doctor

`opsapp GROUP COMMAND --help` explains each command with an example. opsapp is short for
`flask --app opsapp`; --app names another application.
"""


def main() -> None:
    """Run `flask --app opsapp`, as the program `opsapp` does."""
    os.environ["FLASK_APP"] = "opsapp"  # In the environment, for the jobs that it starts.
    from .cli import errors
    from .cli.messages import remember_words
    from .version import __version__

    remember_words(sys.argv[1:])
    with errors.report_errors():
        if sys.argv[1:] == ["--version"]:  # Flask's own says nothing of opsapp.
            sys.stdout.write(f"opsapp {__version__}\n")
            return
        _check_env_files()
        # An error of the words before our commands is reported as theirs are.
        group = _flask_group()
        group.help = HELP  # Flask's asks for --app.
        sys.exit(group.main(standalone_mode=False))


def _check_env_files() -> None:
    """Read the files that Flask reads next, where an error would be a traceback.

    :raises NotReady: the current folder or one of the files cannot be read.
    """
    try:
        from dotenv import dotenv_values, find_dotenv
    except ModuleNotFoundError:  # Flask reads none of them.
        return
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
