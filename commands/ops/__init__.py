"""`flask ops`: our commands on an application that has its own users and database."""

from __future__ import annotations

import click

from opsapp.cli.base import OpsGroup
from opsapp.cli.deferred import LazyCommand, Subjects, write_subjects


def _command(name: str, module: str, help: str, attribute: str = "cli") -> LazyCommand:
    return LazyCommand(name, f"opsapp.commands.{module}", help, attribute=attribute)


SUBJECTS: Subjects = {
    "Users and roles": (
        _command("identity", "ops.identity", "Show how opsapp understands the accounts."),
        _command("users", "ops.users", "Manage the application's accounts."),
        _command("roles", "ops.roles", "Grant and revoke the application's roles."),
    ),
    "Database": (
        _command("init", "ops.database", "Create or upgrade opsapp's tables.", "init"),
        _command("status", "ops.database", "Show whether opsapp is attached and ready.", "status"),
        _command("drop", "ops.database", "Remove opsapp's tables.", "drop"),
        _command("db", "ops.migrations", "Run the application's own migrations, audited."),
        _command("backup", "db", "Copy the database to a file while it is in use.", "backup_cmd"),
        _command("query", "query", "Run a read-only SQL statement."),
        _command("shell", "shell.session", "Start a Python shell with the application."),
    ),
    "Background work": (
        _command("jobs", "jobs.history", "Run cron jobs one at a time, with a history."),
        _command("mail", "mail", "List and send queued mail."),
    ),
    "Monitoring": (
        _command("audit", "audit", "Read and verify the audit log."),
        _command("profile", "profile.report", "Report and profile slow requests and queries."),
        _command("doctor", "doctor", "Check the installation for problems."),
    ),
    "Terminal": (_command("completion", "completion", "Print a completion script."),),
}
"""The commands of `flask ops --help`, in its order."""


class BySubject(OpsGroup):
    """A group whose help lists its commands by subject."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_subjects(SUBJECTS, formatter)


@click.group(
    "ops",
    cls=BySubject,
    commands=[command for listed in SUBJECTS.values() for command in listed],
)
def cli() -> None:
    """Operate an application that has its own users and database.

    Commands that read the application work immediately. Changes, audit, jobs, mail and
    profile need `flask ops init` once per database. docs/attaching.md is a ten-minute guide.
    """
