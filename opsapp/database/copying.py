"""Copies into another database: every row moved to a server, compared there, or nothing at all.

docs/decisions/database.md#a-move-is-compared-row-by-row
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import exc

from .. import migrations, text
from ..engine import connections
from ..errors import Conflict, Invalid, NotReady, OpsError
from ..extensions import db
from ..libpq import modern_url
from ..models import AuditEvent, AuditHead, ProfileSeries, ProfileTrace, ProfileWindow, Role
from ..types import Record
from ..unit.ledger import read_head, refuse_other_owner
from ..unit.work import Unit
from ..values.damage import Damaged
from .migration_run import STATEMENT_TIMEOUT

CHUNK = 1000
FIRST = {
    model.__tablename__
    for model in (AuditHead, AuditEvent, Role, ProfileSeries, ProfileWindow, ProfileTrace)
}
"""The tables that ``flask db init`` writes to, whose command may be profiled."""
FIRST_ACTIONS = ("database:schema:", "role:definition:create")


def engine_to(url: str) -> sa.Engine:
    """Return an engine to the database to copy into.

    :raises Invalid: the URL has a password, which other users of the host could read.
    :raises NotReady: opsapp cannot use the URL.
    """
    parsed = connections.check_url(modern_url(url), "--to")
    if not connections.is_without_secret(parsed):
        hint = "PGPASSWORD in the environment, or ~/.pgpass"
        raise Invalid("--to has a password, which every process of this host can read", hint=hint)
    if parsed == db.engine.url:
        raise Invalid("--to is the database itself")
    target = sa.create_engine(parsed, **connections.options(parsed))
    connections.prepare(target)
    return target


def show_url(target: sa.Engine) -> str:
    """Return the URL of the target without secrets, as an operator writes it."""
    return connections.shown_url(target.url.set(drivername=target.dialect.name))


@contextmanager
def use_engine(target: sa.Engine) -> Iterator[None]:
    """Let the application use another engine for a while."""
    engines = cast("MutableMapping[str | None, sa.Engine]", db.engines)
    own = engines[None]
    db.session.remove()
    engines[None] = target
    try:
        yield
    finally:
        db.session.remove()
        engines[None] = own


def uncopied_tables() -> list[str]:
    """Return the tables that no model of the application has, which are not copied."""
    present = set(sa.inspect(db.engine).get_table_names())
    tables = {table.name for table in db.metadata.tables.values()}
    return sorted(present - tables - {migrations.VERSION_TABLE})


def copy(target: sa.Engine, *, unit: Unit) -> list[Record]:
    """Copy every row into a database that ``flask db init`` has just made; return each table.

    Nothing of this application is written meanwhile. The copy is compared by counts and
    digests before it is committed. Its ids go on where those of this database do.

    The copy is committed right behind its event, so no copy is without one.

    :raises Conflict: the target holds something, or a value cannot be copied.
    :raises NotReady: the target is not at the same revision, or a secret is another one.
    """
    with ExitStack() as stack:
        connection = stack.enter_context(_open_target(target))
        try:
            with unit:
                unit.settle(lambda committed: _settle(stack, connection, committed))
                rows = _fill(connection, unit)
                after = {"to": show_url(target), "rows": sum(row["rows"] for row in rows)}
                unit.record("database:copy:create", "database", after=after)
        except (exc.SQLAlchemyError, OpsError):
            if unit.committed:
                _take_back(target, unit)
            raise
        return rows


def _fill(connection: sa.Connection, unit: Unit) -> list[Record]:
    """Copy every row and compare the copies; return each table."""
    _be_patient(unit.session.connection())
    with _open_source() as source:
        _check(connection, migrations.present(unit.session))
        with _open_for_copies(connection):
            tables = _tables(source)
            _empty(connection, tables)
            copies = [_Copied(table, *_copy_table(table, source, connection)) for table in tables]
            _set_ids(tables, source, connection)
        _compare(copies, connection)
    return [copied.record() for copied in copies]


def _settle(stack: ExitStack, connection: sa.Connection, committed: bool) -> None:
    """End the transaction of the target as the unit's has ended."""
    transaction = connection.get_transaction()
    if transaction is not None and not committed:
        transaction.rollback()
    stack.close()


def _take_back(target: sa.Engine, unit: Unit) -> None:
    """Have the audit say that a copy, whose event is committed, was not."""
    with Unit(actor=unit.actor, door=unit.door, correlation=unit.correlation) as after:
        after.record("database:copy:fail", "database", before={"to": show_url(target)})
    # Its event no longer stands, so the error must not name it.
    unit.committed, unit.seq = False, None


@dataclass(frozen=True, slots=True)
class _Copied:
    """A table with the number of its rows and their digest."""

    table: sa.Table
    rows: int
    digest: str

    def record(self) -> Record:
        return {"changed": True, "table": self.table.name, "rows": self.rows, "digest": self.digest}


# --- connections ---------------------------------------------------------------


def _be_patient(connection: sa.Connection) -> None:
    """Let statements and pauses of this transaction take long."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
    connections.wait_for_reader(connection)


@contextmanager
def _open_source() -> Iterator[sa.Connection]:
    """Connect to the source once more, for the state of one moment; the gate is held."""
    with db.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            _be_patient(connection)
            yield connection


@contextmanager
def _open_target(target: sa.Engine) -> Iterator[sa.Connection]:
    """Open the one transaction of the target."""
    with target.connect() as connection:
        connection = connection.execution_options(writing=True)
        with connection.begin():
            _be_patient(connection)
            yield connection


@contextmanager
def _open_for_copies(connection: sa.Connection) -> Iterator[None]:
    """Let rows of the audit be replaced, and put its triggers back."""
    if connection.dialect.name == "postgresql":
        switch = f"ALTER TABLE {AuditEvent.__tablename__} {{}} TRIGGER USER"
        connection.exec_driver_sql(switch.format("DISABLE"))
        yield
        connection.exec_driver_sql(switch.format("ENABLE"))
        return
    connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
    query = sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    triggers = connection.execute(query).all()
    for name, _sql in triggers:
        connection.exec_driver_sql(f"DROP TRIGGER {sa.sql.quoted_name(name, True)}")
    yield
    for _name, sql in triggers:
        connection.exec_driver_sql(sql)


# --- the target ----------------------------------------------------------------


def _check(connection: sa.Connection, revisions: Sequence[str]) -> None:
    """Refuse a target that is not of this code and these secrets, or not as good as new."""
    hint = f"OPSAPP_DATABASE_URL='{show_url(connection.engine)}' flask db init"
    if not sa.inspect(connection).has_table(AuditHead.__tablename__):
        raise NotReady("the target is not initialised", hint=hint)
    present = connection.scalars(sa.text(f"SELECT version_num FROM {migrations.VERSION_TABLE}"))  # noqa: S608  (our own name)
    if sorted(present) != sorted(revisions):
        raise NotReady("the target is at another revision", hint=hint)
    if (head := read_head(connection, lock=True)) is not None:
        refuse_other_owner(head)
    for action in connection.scalars(sa.select(AuditEvent.action).distinct()):
        if not action.startswith(FIRST_ACTIONS):
            raise Conflict(f"the target is in use: its audit log has a {text.safe(action)}")
    for table in db.metadata.sorted_tables:
        if table.name not in FIRST and connection.scalar(_any(table)) is not None:
            raise Conflict(f"the target is in use: its table {table.name} has rows")


def _any(table: sa.Table) -> sa.Select[Any]:
    return sa.select(sa.literal(1)).select_from(table).limit(1)


def _tables(source: sa.Connection) -> list[sa.Table]:
    """Return the tables of the application's models, each behind those that it refers to."""
    present = set(sa.inspect(source).get_table_names())
    return [table for table in db.metadata.sorted_tables if table.name in present]


def _empty(connection: sa.Connection, tables: Sequence[sa.Table]) -> None:
    for table in reversed(tables):
        connection.execute(sa.delete(table))


def _set_ids(tables: Sequence[sa.Table], source: sa.Connection, connection: sa.Connection) -> None:
    """Let new rows of the copy have the ids that come next here; ids are never used twice."""
    for table in tables:
        column = table.autoincrement_column
        if column is None:
            continue
        last = _last_id(table, column, source)
        if connection.dialect.name == "postgresql":
            sequence = _sequence(table, column, connection)
            if sequence is not None:
                setting = sa.func.setval(sequence, max(last, 1), last > 0)
                connection.execute(sa.select(setting))
        elif table.dialect_options["sqlite"]["autoincrement"]:
            delete = sa.text("DELETE FROM sqlite_sequence WHERE name = :name")
            connection.execute(delete, {"name": table.name})
            insert = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)")
            connection.execute(insert, {"name": table.name, "seq": last})


def _last_id(table: sa.Table, column: sa.Column[Any], source: sa.Connection) -> int:
    highest = source.scalar(sa.select(sa.func.max(column))) or 0
    if source.dialect.name == "sqlite":
        if not table.dialect_options["sqlite"]["autoincrement"]:
            return int(highest)
        query = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        return int(source.scalar(query, {"name": table.name}) or highest)
    if (sequence := _sequence(table, column, source)) is None:
        return int(highest)
    state = sa.text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}")  # noqa: S608  (the server's own name)
    return int(source.scalar(state) or 0)


def _sequence(table: sa.Table, column: sa.Column[Any], connection: sa.Connection) -> str | None:
    name = connection.dialect.identifier_preparer.format_table(table)
    sequence: str | None = connection.scalar(
        sa.select(sa.func.pg_get_serial_sequence(name, column.name))
    )
    return sequence


# --- rows ----------------------------------------------------------------------


def _copy_table(
    table: sa.Table, source: sa.Connection, connection: sa.Connection
) -> tuple[int, str]:
    """Copy the rows of a table; return how many they are, and their digest.

    :raises Conflict: a value is damaged, or none that the target can hold.
    """
    write = _copy_in if connection.dialect.name == "postgresql" else _insert
    digest = _Digest()
    driver = connection.dialect.loaded_dbapi  # COPY is its own, whose errors nothing wraps.
    unfit = (exc.DataError, exc.IntegrityError, driver.DataError, driver.IntegrityError)
    try:
        for rows in _batches(table, source):
            for row in rows:
                _refuse_damage(table, row)
                digest.add(row)
            write(table, rows, connection)
    except (*unfit, ValueError, TypeError) as error:
        reason = text.first_line(getattr(error, "orig", None) or error)
        raise Conflict(f"a row of {table.name} cannot be copied: {reason}") from error
    return digest.rows, str(digest)


def _columns(table: sa.Table) -> list[sa.Column[Any]]:
    return [column for column in table.columns if column.computed is None]


def _batches(table: sa.Table, connection: sa.Connection) -> Iterator[Sequence[Any]]:
    columns = _columns(table)
    places = [n for n, column in enumerate(columns) if isinstance(column.type, sa.JSON)]
    absent = [columns[place].is_(sa.null()) for place in places]
    query = sa.select(*columns, *absent).order_by(*table.primary_key.columns)
    with connection.execute(query, execution_options={"yield_per": CHUNK}) as result:
        for rows in result.partitions():
            yield [_with_nulls(row, places) for row in rows] if places else rows


def _with_nulls(row: Any, places: Sequence[int]) -> list[Any]:
    """Return a row whose JSON columns tell NULL from the null of JSON; both are None in Python."""
    values: list[Any] = list(row[: len(row) - len(places)])
    for place, is_absent in zip(places, row[len(values) :], strict=True):
        if values[place] is None:
            values[place] = sa.null() if is_absent else sa.JSON.NULL
    return values


def _refuse_damage(table: sa.Table, row: Any) -> None:
    for column, value in zip(_columns(table), row, strict=True):
        if isinstance(value, Damaged):
            message = f"{table.name} has a value that cannot be read, in {column.name}: {value}"
            raise Conflict(message, hint="flask doctor")


def _insert(table: sa.Table, rows: Sequence[Any], connection: sa.Connection) -> None:
    names = [column.key for column in _columns(table)]
    connection.execute(sa.insert(table), [dict(zip(names, row, strict=True)) for row in rows])


def _copy_in(table: sa.Table, rows: Sequence[Any], connection: sa.Connection) -> None:
    """Write rows by PostgreSQL's COPY, four times as fast as by INSERT."""
    dialect = connection.dialect
    quote = dialect.identifier_preparer
    columns = _columns(table)
    writers = [column.type.dialect_impl(dialect).bind_processor(dialect) for column in columns]
    names = ", ".join(quote.format_column(column) for column in columns)
    driver: Any = connection.connection.dbapi_connection
    with driver.cursor().copy(f"COPY {quote.format_table(table)} ({names}) FROM STDIN") as copy:
        for row in rows:
            pairs = zip(writers, row, strict=True)
            copy.write_row([value if write is None else write(value) for write, value in pairs])


class _Digest:
    """The sum of the rows' hashes: two databases may read them in different orders."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, row: Any) -> None:
        line = json.dumps([_plain(value) for value in row], sort_keys=True, default=str)
        self._sum += int.from_bytes(hashlib.sha256(line.encode(errors="surrogatepass")).digest())
        self.rows += 1

    def __str__(self) -> str:
        return f"{self._sum % 2**256:064x}"


def _plain(value: Any) -> Any:
    """Return a value in the form that it has in every database."""
    match value:
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat()
        case Decimal():
            return str(value.normalize())
        case bytes() | memoryview():
            return bytes(value).hex()
        case sa.sql.elements.Null():
            return {"is": "NULL"}  # Not None, which is the null of JSON.
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
    return value


def _compare(copies: Sequence[_Copied], connection: sa.Connection) -> None:
    """Read the copy again.

    :raises OpsError: a table is not what was written, and nothing was copied.
    """
    for copied in copies:
        digest = _Digest()
        for rows in _batches(copied.table, connection):
            for row in rows:
                digest.add(row)
        if (digest.rows, str(digest)) != (copied.rows, copied.digest):
            raise OpsError(
                f"{copied.table.name} has {text.pluralize(copied.rows, 'row')} here,"
                " and others in the copy; nothing was copied"
            )
