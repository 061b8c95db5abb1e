"""`flask db`: set up, migrate, back up and restore the database; the verbs of Flask-Migrate."""

from __future__ import annotations

import sys
from contextlib import closing
from copy import copy
from typing import TYPE_CHECKING, Any

import click

from opsapp.cli import output
from opsapp.cli.base import OpsCommand, OpsGroup, application, approve
from opsapp.cli.decorators import (
    CONFIRM,
    DRY_RUN,
    REASON,
    YES,
    answers,
    changes,
    findings,
    unit_of_this_command,
)
from opsapp.cli.messages import say
from opsapp.cli.options import NEW_FILE, WAIT, with_options
from opsapp.cli.tables import hanging
from opsapp.errors import Invalid, Refused
from opsapp.types import Record

if TYPE_CHECKING:
    from opsapp.unit.work import Unit


class DatabaseGroup(OpsGroup):
    """Our commands, then those of Flask-Migrate, which is imported when one is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from flask_migrate.cli import db

        return sorted({*super().list_commands(ctx), *db.commands} - {MERGE})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        own = super().get_command(ctx, name)
        if own is not None:
            return own
        from flask_migrate.cli import db

        if name not in db.commands or name == MERGE:
            return None
        adopted_command = _adopt(db.commands[name])
        return ADAPTED[name](adopted_command) if name in ADAPTED else adopted_command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            name, command, rest = super().resolve_command(ctx, args)
        except click.UsageError as error:
            if not hasattr(click, "NoSuchCommand"):  # Before 8.4 click suggests nothing.
                raise
            # Click knows our verbs only, and the nearest may be Flask-Migrate's.
            names = self.list_commands(ctx)
            unknown = str(getattr(error, "command_name", args[0]))
            raise click.NoSuchCommand(unknown, possibilities=names, ctx=ctx) from None
        if name not in self.commands and not ctx.resilient_parsing:
            _bind(ctx)
        return name, command, rest


def _bind(ctx: click.Context) -> None:
    """Give Flask-Migrate's command the app and the options that its own group would."""
    from flask import g

    from opsapp.database.environment import bind_commands

    ctx.with_resource(application())
    ctx.with_resource(bind_commands()).configure(_redirect_output)
    g.directory, g.x_arg = ctx.params["directory"], ctx.params["x_arg"]


def _redirect_output(alembic: Any) -> Any:
    """Let Alembic print where we do; it may have looked for stdout before it was made ready."""
    alembic.stdout = sys.stdout
    return alembic


def _adopt(original: click.Command) -> OpsCommand:
    """Flask-Migrate's command as one of ours, which takes no option twice."""
    return OpsCommand(
        original.name,
        callback=original.callback,
        params=original.params,
        help=original.help,
        short_help=original.short_help,
    )


CHANGING = {
    "upgrade": None,
    "downgrade": "Take schema changes back, with the data that they hold?",
    "stamp": "Call the database another revision than it says, without changing it?",
}
"""Flask-Migrate's verbs that change the database, and what is asked before they do."""


def _add_question(original: click.Command) -> click.Command:
    """A command of Flask-Migrate that asks first, and is audited with who and why."""
    command = copy(original)
    verb = original.name or ""
    is_planned = verb != "stamp"
    question = CHANGING[verb]
    command.params = [*original.params, REASON, *([DRY_RUN] if is_planned else [])]
    if question:
        command.params += [CONFIRM, YES]

    def callback(reason: str | None, dry_run: bool = False, **options: Any) -> None:
        from opsapp.database.environment import target_revision
        from opsapp.database.migration_run import on_behalf_of

        for option in ("yes", "confirm"):
            options.pop(option, None)
        options["revision"] = target_revision(options["revision"], is_script=options["sql"])
        is_planned_now = is_planned and not options["sql"]
        if is_planned_now and (not _write_plan(verb, options["revision"]) or dry_run):
            say("Dry run: nothing was written." if dry_run else ALREADY)
            return
        if question and not options["sql"]:
            approve(question, severe=True)
        with on_behalf_of(unit_of_this_command(reason)):
            click.get_current_context().invoke(original, **options)
        if not options["sql"]:
            _say_event()

    command.callback = callback
    return command


ALREADY = "Already so: nothing was changed."


def _write_plan(verb: str, revision: str) -> bool:
    """Print the migrations that will run, and what they drop; return whether there are any."""
    from opsapp.database import plan

    steps = plan.make(verb, revision)
    if not steps.steps:
        return False
    lines = [f"from {steps.before} to {steps.after}"]
    lines += [f"{verb} {step.revision}  {step.summary}" for step in steps.steps]
    losses = plan.losses(steps) if verb == "downgrade" else []
    output.write_lines(hanging(line) for line in [*lines, *losses])
    return True


def _say_event() -> None:
    """Say which event tells of the change, if the audit log is still there."""
    from opsapp.database import status

    if (seq := status.last_event()) is not None:
        say(f"Done, audit event {seq}.")


def _choose_place(original: click.Command) -> click.Command:
    """A command of Flask-Migrate whose migration goes to the application's, if it has its own."""
    command = copy(original)

    def callback(**options: Any) -> None:
        from flask import g

        from opsapp.database.environment import place_of_new_migration

        is_placed = options["version_path"] or options["branch_label"] or options["head"] != "head"
        elsewhere = options["directory"] or g.directory
        place = {} if is_placed or elsewhere else place_of_new_migration()
        if not (is_placed or elsewhere or place):
            raise Refused(
                "the migration would be one of opsapp's own",
                hint="name your folder in create_app(): opsapp.migrations.add(app, 'shop', FOLDER)",
            )
        click.get_current_context().invoke(original, **{**options, **place})

    command.callback = callback
    return command


def _show_heads(original: click.Command) -> click.Command:
    """A command of Flask-Migrate that shows every head, where several branches have one."""
    command = copy(original)

    def callback(revision: str, **options: Any) -> None:
        from opsapp.database.environment import target_revision

        options["revision"] = target_revision(revision)
        click.get_current_context().invoke(original, **options)

    command.callback = callback
    return command


MERGE = "merge"
"""A verb of Flask-Migrate that is left out: branches stay apart, and each is one line."""
ADAPTED = {
    **dict.fromkeys(CHANGING, _add_question),
    **dict.fromkeys(("migrate", "revision"), _choose_place),
    "show": _show_heads,
}
"""Flask-Migrate's verbs that opsapp changes, and how."""


@click.group(cls=DatabaseGroup)
@click.option("-d", "--directory", metavar="DIR", help="The migrations folder of Flask-Migrate.")
@click.option("-x", "--x-arg", metavar="ARG", multiple=True, help="An argument for env.py.")
def cli(directory: str | None, x_arg: tuple[str, ...]) -> None:
    """Set up, migrate, inspect and back up the database.

    init, status, backup, restore and copy are opsapp's; the other verbs are Flask-Migrate's.
    All that change the schema run alone, in one transaction, and are audited.
    """


@cli.command("init")
@with_options(WAIT)
@changes("before", "revision", "environment", key="revision")
def init_cmd(wait: float, unit: Unit) -> Record:
    """Prepare the database: migrate, stamp, seed.

    Brings it to this code's revision, stamps the environment's name into it and makes
    the built-in roles. Running it again, or on several hosts at once, is harmless.

    \b
    Example:
      flask db init --wait 60
    """
    from opsapp.database import setup

    return setup.init(wait=wait, unit=unit)


@cli.command("status")
@answers()
def status_cmd() -> Record:
    """Show the state of the database.

    Exits 0 if it is ready, 6 if it is behind, another environment's or cannot be
    written, 7 if it cannot be reached. A write is tried and rolled back.

    \b
    Example:
      flask db status --format json
    """
    from opsapp.database import status

    record = status.status()
    findings(not record["ready"])
    return record


@cli.command("backup")
@click.argument("file", type=NEW_FILE)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@changes("file", "bytes", key="file")
def backup_cmd(file: str, overwrite: bool, unit: Unit) -> Record | None:
    """Copy the database to FILE while it is in use.

    SQLite's online backup, or pg_dump's custom format; - is stdout. FILE is readable by its
    owner only, and appears when it is complete, checked and audited. `flask db restore` puts
    it back; so do cp and pg_restore, followed by `flask db init`. If opsapp's tables have a
    database of their own, its copy is FILE.ops.

    \b
    Example:
      flask db backup monday.backup
    """
    from opsapp.database import backups

    if file != backups.STDOUT:
        return backups.create(file, overwrite=overwrite, unit=unit)
    with closing(backups.stream(unit=unit)) as chunks:
        output.write_bytes(chunks)
    return None


@cli.command("restore")
@click.argument("file", type=NEW_FILE)
@changes("file", "events", "lost", "until", "revision", key="file", destructive=True)
def restore_cmd(file: str, unit: Unit) -> Record:
    """Replace the database with a backup.

    The copy is checked first: its integrity, its chain of events, its revision, and that it was
    made under these secrets. It is put in place whole or not at all, and migrated to this code.
    The events after it are declared lost, with the --reason, as `flask audit rebase` does.
    While another process uses the database, nothing is changed (exit 75).

    \b
    Examples:
      flask db restore sunday.backup --reason "disk lost" --dry-run
      flask db restore sunday.backup --reason "disk lost" --yes
    """
    from opsapp.database import recovery

    if not unit.reason and not unit.dry_run:
        raise Invalid("a restore needs a --reason")
    plan = recovery.plan(file)
    if not unit.dry_run:
        for effect in plan.effects():
            say(f"It {effect}.")
    approve(f"Replace the database with {file}?", severe=True)
    return recovery.restore(plan, unit=unit)


@cli.command("copy")
@click.option("--to", "url", required=True, metavar="URL", help="Database to copy into.")
@changes("table", "rows", "digest", key="table", destructive=True)
def copy_cmd(url: str, unit: Unit) -> list[Record]:
    """Copy the whole database into another one.

    From SQLite to PostgreSQL, for example. The target is empty, as `flask db init` leaves it,
    and has the same revision and secrets. At the end, every table is compared and the audit log
    verified; if anything differs, nothing is copied. Stop the web server and cron before.

    \b
    Example:
      flask db copy --to postgresql://ops@db/ops --reason "outgrew the file" --yes
    """
    from opsapp.audit import verification
    from opsapp.database import copying

    target = copying.engine_to(url)
    try:
        if tables := copying.uncopied_tables():
            say(f"No model of the application has {', '.join(tables)}: left behind.")
        approve(f"Copy the whole database into {copying.show_url(target)}?", severe=True)
        rows = copying.copy(target, unit=unit)
        if not unit.dry_run:
            with copying.use_engine(target):
                report = verification.verify(state=True)
            say(f"The copy: {report['says']}.")
            findings(not report["ok"])
        return rows
    finally:
        target.dispose()
