"""Plans of schema changes: the migrations that would run, and the rows that they would drop."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import sqlalchemy as sa
from flask import current_app

from .. import text
from ..errors import NotFound, NotReady
from ..extensions import db
from .migration_run import (
    refuse_foreign_tables,
    refuse_other_database,
    refuse_other_schema,
    refuse_parts,
    refuse_unknown,
)
from .status import present_revisions

_DROPPED = re.compile(r"DROP TABLE (?:IF EXISTS )?(\w+)|ALTER TABLE (\w+) DROP COLUMN (\w+)")


@dataclass(frozen=True, slots=True)
class Step:
    """A migration that would run, up or down."""

    revision: str
    summary: str
    """The first line of its docstring."""
    module: ModuleType


@dataclass(frozen=True, slots=True)
class Plan:
    """The migrations that would run, in their order, and the revisions before and after them."""

    steps: list[Step]
    before: str
    after: str


def make(verb: str, revision: str) -> Plan:
    """Return the plan of an ``upgrade`` or ``downgrade``, as it would run now.

    :param revision: as Alembic takes it.
    :raises NotFound: there is no such revision.
    :raises Conflict: a table that is not ours has the name of one of ours; or some of our tables
        would be left without the others.
    :raises NotReady: the database has a migration that this application does not, or a secret is
        not its own.
    :raises Refused: the database is stamped with another environment's name.
    """
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    # Flask-Migrate reads its own extension, which the command has bound to our folders.
    config = current_app.extensions["migrate"].migrate.get_config()
    script = ScriptDirectory.from_config(config)
    present = tuple(_read_revisions())
    refuse_unknown(present)
    # These two are what Alembic's own commands call.
    find = script._downgrade_revs if verb == "downgrade" else script._upgrade_revs  # noqa: SLF001
    try:
        revisions: list[Any] = find(revision, present)  # type: ignore[arg-type]
    except CommandError as error:
        raise NotFound(text.first_line(error), hint="flask db history") from error
    after = set(present)
    for step in revisions:
        after = after.difference(step.from_revisions_no_deps) | set(step.to_revisions_no_deps)
    if revisions:
        refuse_parts(after)
    steps = [
        Step(step.revision.revision, step.revision.doc, step.revision.module) for step in revisions
    ]
    return Plan(steps, _join_revisions(present), _join_revisions(after))


def _join_revisions(revisions: Iterable[str]) -> str:
    return " ".join(sorted(revisions)) or "nothing"


def _read_revisions() -> Sequence[str]:
    try:
        present = present_revisions()
        refuse_foreign_tables(db.ours.connection())
        refuse_other_schema(db.ours.connection())
        refuse_other_database(db.ours.connection())
    except NotReady as error:
        if error.hint == "flask db init":
            return ()  # There is no SQLite file yet.
        raise
    else:
        return present
    finally:
        db.ours.rollback()


def losses(downgrade: Plan) -> list[str]:
    """Return each table and column that the migrations would drop, with the rows it holds."""
    return [
        _describe_drop(table, column)
        for step in downgrade.steps
        for table, column in _find_drops(step)
    ]


def _find_drops(step: Step) -> Iterator[tuple[str, str | None]]:
    """Yield the tables and columns that the SQL of a downgrade drops."""
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    sql = io.StringIO()
    # PostgreSQL's SQL names what SQLite's hides in a copy of the table.
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": sql}
    )
    with Operations.context(context):
        step.module.downgrade()
    for table, altered, column in _DROPPED.findall(sql.getvalue()):
        yield table or altered, column or None


def _describe_drop(table: str, column: str | None) -> str:
    if not sa.inspect(db.our_engine).has_table(table):
        return f"drops {table}, which is not there"
    source = sa.table(table, sa.column(column or "*"))
    counted = sa.func.count(source.c[column]) if column else sa.func.count()
    count = db.ours.scalar(sa.select(counted).select_from(source)) or 0
    db.ours.rollback()
    contents = text.pluralize(count, "value" if column else "row")
    return f"drops {f'the column {table}.{column}' if column else table}, with {contents}"
