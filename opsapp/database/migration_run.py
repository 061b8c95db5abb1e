"""A run of migrations: the lock, the gate and the audit event around its statements."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import exc

from .. import actors, clock, migrations, text
from ..engine import conditions, connections, locks
from ..errors import Busy, Conflict, NotReady, OpsError, TimedOut
from ..extensions import db, this_app
from ..models import PREFIX, AuditEvent, AuditHead, our_tables
from ..settings import config
from ..state import CORE, is_built_on
from ..unit import chain
from ..unit.ledger import (
    Head,
    append,
    audit_key,
    other_revision,
    pepper_id,
    read_head,
    refuse_other_owner,
)
from ..unit.work import Unit

LOCK = "migrate"
LOCK_SECONDS = 60
STATEMENT_TIMEOUT = "1h"

_unit: ContextVar[Unit | None] = ContextVar("unit", default=None)
_steps: ContextVar[list[str] | None] = ContextVar("steps", default=None)


@contextmanager
def on_behalf_of(unit: Unit) -> Iterator[list[str]]:
    """Migrations run inside are recorded with this unit's actor, door and reason.

    Yields the list to which each step adds the revision it led to.
    """
    steps: list[str] = []
    tokens = _unit.set(unit), _steps.set(steps)
    try:
        yield steps
    finally:
        _unit.reset(tokens[0])
        _steps.reset(tokens[1])


@contextmanager
def lock(*, wal: bool | None = None) -> Iterator[None]:
    """Be the only one who migrates this database, on every host.

    :param wal: whether a SQLite file is put into WAL mode; by default, if it is of an
        application that is built on opsapp, or ours alone.
    :raises Busy: another process has been migrating for a minute; names it.
    """
    with locks.hold_lock(db.our_engine, LOCK, wait=LOCK_SECONDS):
        if db.our_engine.dialect.name == "sqlite":
            wal = db.is_all_ours if wal is None else wal
            connections.create_sqlite(connections.sqlite_file(db.our_engine), wal=wal)
        yield


def prepare(connection: sa.Connection) -> None:
    """Set what can only be set outside of the transaction that migrates."""
    if connection.dialect.name == "sqlite":
        # Alembic moves a table by copying and dropping it, which foreign keys would
        # refuse; check() looks at them before the commit. The connection is not
        # given back to the pool, so no other code meets it without them.
        connection.detach()
        driver: Any = connection.connection.dbapi_connection
        driver.execute("PRAGMA foreign_keys=OFF")


def take_gate(connection: sa.Connection) -> None:
    """Keep writing units out for as long as the schema changes.

    :raises Refused: the database is stamped with another environment's name.
    :raises NotReady: the audit key is not this database's.
    """
    _run.set(None)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
    refuse_other_schema(connection)
    refuse_foreign_tables(connection)
    refuse_other_database(connection, lock=True)


def refuse_other_database(connection: sa.Connection, *, lock: bool = False) -> None:
    """Refuse the database of another environment, or of other secrets.

    :param lock: keep units out until the transaction ends.
    :raises Refused: it is stamped with another environment's name.
    :raises NotReady: a secret is not this database's.
    """
    if sa.inspect(connection).has_table(AuditHead.__tablename__):
        head = read_head(connection, lock=lock)
        if head is not None:
            refuse_other_owner(head)


_SCHEMAS = sa.text(
    "SELECT relnamespace::regnamespace::text, current_schema() FROM pg_class"
    " WHERE oid = to_regclass('ops_audit_head')"
)


def refuse_other_schema(connection: sa.Connection) -> None:
    """Refuse tables in a later schema of the ``search_path``: new ones would go to the first.

    :raises NotReady: names both; PostgreSQL only.
    """
    if connection.dialect.name != "postgresql":
        return
    schema, first = connection.execute(_SCHEMAS).one_or_none() or (None, None)
    if schema != first:
        raise NotReady(
            f"opsapp's tables are in the schema {text.safe(schema)},"
            f" and new ones would go to {text.safe(first)}",
            hint="name the schema that is meant: OPSAPP_DATABASE_URL="
            f"postgresql://USER@HOST/NAME?options=-csearch_path%3D{text.safe(schema)}",
        )


def refuse_foreign_tables(connection: sa.Connection) -> None:
    """Refuse a database with a table that has the name of one of ours, or may get it.

    :raises Conflict: names the first.
    """
    inspector = sa.inspect(connection)
    names = {*inspector.get_table_names(), *inspector.get_view_names()} - {migrations.VERSION_TABLE}
    reserved = {name for name in names if name.startswith(PREFIX)}
    own_tables = our_tables() if AuditHead.__tablename__ in names else set()
    if foreign := sorted(reserved - own_tables):
        raise Conflict(
            f"the database has a table {text.safe(foreign[0])}, and names in {PREFIX} are opsapp's",
            hint="rename it; or give opsapp a database of its own, in OPSAPP_DATABASE_URL"
            if is_built_on(this_app())
            else "rename it",
        )


def refuse_unknown(present: Collection[str]) -> None:
    """Refuse a database with a migration that this code does not have, before Alembic misses it.

    :param present: the revisions of the database.
    :raises NotReady: one is another application's, or newer than this code.
    """
    for revision in present:
        owner = next(
            (branch for branch in migrations.branches(this_app()) if branch.has(revision)), None
        )
        if owner is None:
            raise NotReady(
                f"the database is at {text.safe(revision)} too,"
                " a migration that this application does not have",
                hint=f"name the application of {text.safe(re.split('[0-9]', revision)[0])}:"
                " flask --app …",
            )
        if revision not in owner.revisions:
            raise other_revision(revision, owner)


@contextmanager
def explain_failure() -> Iterator[None]:
    """Say that a migration failed and left nothing behind, and why.

    :raises OpsError: a statement of it failed.
    """
    try:
        yield
    except exc.DBAPIError as error:
        condition = conditions.translate_error(error)
        # A table that the migration misses is its own fault.
        is_its_own = condition is None or condition.hint == "flask db init"
        if isinstance(condition, Busy | TimedOut | NotReady) and not is_its_own:
            raise condition from error
        reason = text.first_line(error.orig or error)
        raise OpsError(f"the migration failed and nothing was changed: {reason}") from error


def check(connection: sa.Connection) -> None:
    """Refuse to commit a schema change that cannot stay.

    :raises OpsError: a foreign key points nowhere (SQLite only, PostgreSQL checks by itself).
    :raises Conflict: a table of the application has a name of ours.
    """
    refuse_foreign_tables(connection)
    if connection.dialect.name == "sqlite":
        row = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if row is not None:
            raise OpsError(f"the migration leaves table {row[0]} with a broken foreign key")


def note_step(*, ctx: Any, step: Any, heads: set[str], run_args: Any) -> None:
    """Remember a migration step; all of a run are one event, as one operator did them."""
    if (steps := _steps.get()) is not None:
        steps.extend(sorted(step.destination_revision_ids))
    verb = "stamp" if step.is_stamp else "upgrade" if step.is_upgrade else "downgrade"
    run = _run.get()
    # A head that the step did not touch is another branch's, and was there before it.
    untouched = heads - set(step.destination_revision_ids)
    before = run.before if run else untouched | set(step.source_revision_ids)
    _run.set(_Run(verb, before, heads))


@dataclass(frozen=True, slots=True)
class _Run:
    """From where to where a run of steps has brought the schema."""

    verb: str
    before: Collection[str]
    after: Collection[str]


_run: ContextVar[_Run | None] = ContextVar("run", default=None)


def record(connection: sa.Connection) -> None:
    """Append the audit event of the steps that were run, in their own transaction.

    :raises Conflict: some of our tables would be there without the others.
    """
    run = _run.get()
    _run.set(None)
    if run is None:
        return
    refuse_parts(run.after)
    if not sa.inspect(connection).has_table(AuditHead.__tablename__):
        return  # It removed the audit itself.
    head, event = read_head(connection), _event(run)
    if head is None:
        head, stamp = _begin_chain(connection)
        event["after"] |= stamp
    append(connection, head, [event])


def refuse_parts(after: Collection[str]) -> None:
    """Refuse accounts without the audit, and an audit that names accounts which are gone.

    :param after: the revisions that would be left.
    :raises Conflict: some of our tables would be there without the others.
    """
    missing = [of.label for of in migrations.ours(this_app()) if of.at(after) is None]
    if missing and after:
        raise Conflict(
            f"{' '.join(sorted(after))} would be left without the tables of {missing[0]}",
            hint="flask db upgrade, or flask db downgrade base",
        )


def _event(run: _Run) -> dict[str, Any]:
    unit = _unit.get()
    return {
        "at": clock.now(),
        "actor": (unit.actor if unit else actors.at_terminal()).record(),
        "door": unit.door if unit else "cli",
        "action": f"database:schema:{run.verb}",
        "subject": "database",
        "reason": unit.reason if unit else None,
        "before": {"revision": " ".join(sorted(run.before)) or None},
        "after": {"revision": " ".join(sorted(run.after)) or None},
        "correlation": unit.correlation if unit else str(uuid4()),
    }


def _begin_chain(connection: sa.Connection | Script) -> tuple[Head, dict[str, str]]:
    """Begin the chain with the stamp of the environment, as the first migration does.

    The first event says what the head says of the whole chain, so that both must agree.
    """
    head = Head(
        environment=config.environment(),
        chain=str(uuid4()),
        key_id=chain.key_id(audit_key()),
        pepper_id=pepper_id(),
        seq=0,
        hash=chain.GENESIS,
    )
    connection.execute(sa.insert(AuditHead).values(id=1, **asdict(head)))
    return head, {"chain": head.chain, "environment": head.environment}


# --- as a script -------------------------------------------------------------


class Script:
    """Takes statements as a connection does, and writes them for ``psql`` or ``sqlite3``.

    :param migration: Alembic's context, whose output it joins.
    """

    def __init__(self, migration: Any) -> None:
        self._migration = migration

    def execute(self, statement: Any, rows: Iterable[dict[str, Any]] = ({},)) -> None:
        """Write the statement, once for each row."""
        for row in rows:
            compiled = (statement.values(row) if row else statement).compile(
                dialect=self._migration.dialect, compile_kwargs={"literal_binds": True}
            )
            self._migration.impl.static_output(f"{compiled};")

    def remark(self, line: str) -> None:
        """Write a comment."""
        self._migration.impl.static_output(f"-- {line}")


def begin_script() -> None:
    """Forget the steps of an earlier run of this process."""
    _run.set(None)


def record_in(script: Script) -> None:
    """Write what :func:`record` does, as far as it is known without the database.

    The first event is; a later one is tied to what the database holds when the script runs,
    so the next ``flask db init`` writes it.
    """
    run = _run.get()
    _run.set(None)
    if run is None:
        return
    core = migrations.our_branch(CORE)
    before, after = core.at(run.before), core.at(run.after)
    if before and not after:
        return  # It removed the audit itself.
    if run.verb == "upgrade" and after and not before:
        head, stamp = _begin_chain(script)
        event = _event(run)
        event["after"] |= stamp
        append(script, head, [event])
    else:
        script.remark("The next flask db init writes the audit event of this change.")


def record_unrecorded(present: Collection[str], *, unit: Unit) -> None:
    """Record a schema change that a script made, which could not do so itself.

    :param present: the revisions of the database.
    """
    is_of_schema = AuditEvent.action.startswith("database:schema:")
    states = sa.select(AuditEvent.after).where(is_of_schema)
    last = unit.ours.scalar(states.order_by(AuditEvent.seq.desc()).limit(1)) or {}
    at = {"revision": " ".join(sorted(present)) or None}
    if last.get("revision") != at["revision"]:
        before = {"revision": last.get("revision")}
        unit.record("database:schema:notice", "database", before=before, after=at)
