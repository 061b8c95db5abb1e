"""`flask users export`: files that an import takes, and that spreadsheets do not run."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsapp.accounts.listing import Filter
from opsapp.accounts.transfer.exporting import FIELDS, export
from opsapp.accounts.transfer.importing import Options, import_file
from opsapp.audit import events as audit_events
from opsapp.extensions import db
from tests.accounts.test_import_runs import SILENT
from tests.support import Cli, Database, a_unit, disarm
from tests.support.templates import BOB, Commands


@pytest.fixture
def after_support() -> Commands:
    return (
        *BOB,
        ("roles", "create", "support"),
        ("roles", "grant", "support", "bob", "--until", "2999-12-31"),
        ("roles", "grant", "admin", "bob", "--for", "1h"),
        ("users", "create", "=cmd|'/c'!a@example.com", "--no-password"),
        ("users", "create", "gone@example.com", "--no-password"),
        ("users", "delete", "gone@example.com", "--yes"),
        ("users", "deactivate", "bob"),
    )


@pytest.fixture
def file(database: Database, after_support: Commands) -> Path:
    """The path of a file to export to."""
    database.execute(
        "UPDATE ops_grants SET valid_until = '2020-01-01 00:00:00.000000'"
        " WHERE role_id = 1 AND valid_until IS NOT NULL"
    )
    return database.instance.parent / "people.csv"


CSV = (
    "email,username,active,confirmed,roles\r\n"
    "ada@example.com,ada,true,true,admin\r\n"
    "bob@example.com,bob,false,true,support until 2999-12-31T23:59:59Z\r\n"
    "'=cmd|'/c'!a@example.com,,true,true,\r\n"
)


def test_export_writes_what_an_import_takes(cli: Cli, file: Path) -> None:
    done = cli("users", "export", str(file))
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", f"{file} has 3 accounts.\n")
    assert file.read_bytes().decode() == CSV
    assert file.stat().st_mode & 0o777 == 0o600
    # click's runner has the lines of text, and not the bytes.
    assert cli("users", "export", "-").stdout == CSV.replace("\r\n", "\n")
    again = cli("users", "import", str(file), "--format", "json")
    assert (again.exit_code, again.stderr) == (0, "")
    assert again.json["unchanged"] == 3

    lines = file.with_suffix(".jsonl.gz")
    args = ("--fields", ",".join(FIELDS), "--search", "a")
    cli("users", "export", str(lines), *args, "--role", "admin", check=True)
    (row,) = map(json.loads, gzip.decompress(lines.read_bytes()).splitlines())
    assert row.pop("created_at").endswith("Z")
    assert row == {
        "id": 1, "email": "ada@example.com", "username": "ada", "active": True, "confirmed": True,
        "roles": ["admin"], "two_factor": False, "last_seen_at": None,
    }  # fmt: skip
    assert cli("users", "import", str(lines), "--format", "json").json["unchanged"] == 1


REFUSED: dict[tuple[str, ...], tuple[int, str]] = {
    ("{file}", "--fields", "email,pasword"): (
        2, "no field pasword; there are id, email, username, active, confirmed, roles, two_factor,"
        " created_at, last_seen_at",
    ),
    ("{file}", "--status", "deleted"): (2, "a deleted account has nothing to export"),
    ("{file}.doc",): (2, "{file}.doc is named neither .csv nor .jsonl\n"
        "  → rename it, or --format csv"),
    ("{file}/p.csv",): (1, "{file}/p.csv cannot be written: Not a directory"),
    ("{file}", "--role", "suport"): (4, "no role suport\n  → did you mean support?"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["sqlite"])
def test_export_refuses_and_leaves_the_file_as_it_was(cli: Cli, file: Path) -> None:
    file.write_text("before")
    for args, (exit_code, error) in REFUSED.items():
        done = cli("users", "export", *(arg.format(file=file) for arg in args))
        expected = (exit_code, "", f"Error: {error.format(file=file)}\n")
        assert (done.exit_code, done.stdout, done.stderr) == expected
    assert (file.read_text(), sorted(file.parent.glob(".*"))) == ("before", [])


@pytest.mark.parametrize("kind", ["postgresql"])
def test_export_waits_for_a_slow_reader(app: Flask, file: Path) -> None:
    limit = sa.text("SHOW idle_in_transaction_session_timeout")
    limits: list[Any] = []
    export(Filter(), str(file), progress=lambda _count: limits.append(db.session.scalar(limit)))
    assert limits == ["0"]
    db.session.rollback()
    next(audit_events.export())
    assert db.session.scalar(limit) == "0"
    db.session.rollback()
    assert db.session.scalar(limit) == "1min"


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_export_writes_damaged_values_as_they_are(
    cli: Cli, database: Database, file: Path, format: str
) -> None:
    disarm(database)
    for damage in ("active = 7", "email = x'ff00'", "created_at = 'never'"):
        database.execute(f"UPDATE ops_users SET {damage} WHERE id = 1")
    fields = "id,email,active,created_at"
    done = cli("users", "export", "-", "--format", format, "--fields", fields)
    assert (done.exit_code, done.stderr) == (0, "")
    rows = (
        list(csv.DictReader(done.stdout.splitlines()))
        if format == "csv"
        else [json.loads(line) for line in done.stdout.splitlines()]
    )
    first = {name: str(value).lower() for name, value in rows[0].items()}
    assert first == {
        "id": "1", "email": "b'\\xff\\x00'", "active": "true", "created_at": "damaged: never",
    }  # fmt: skip


# --- properties --------------------------------------------------------------


LOCAL = st.text(alphabet="abé'=+-!#%{}|~.ß中", min_size=1, max_size=12)
USERNAME = st.text(alphabet="abcé_.-9中ﬀ", min_size=1, max_size=8)
ROLE = st.sampled_from(["support", "admin until 2999-12-31", "support until 2999-01-01T10:00:00Z"])
ACCOUNT = st.fixed_dictionaries(
    {"email": LOCAL.map(lambda local: f"{local}@müller.example")},
    optional={
        "username": USERNAME,
        "active": st.booleans(),
        "confirmed": st.booleans(),
        "roles": st.lists(ROLE, max_size=2),
    },
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(ACCOUNT, max_size=8), name=st.sampled_from(["p.csv", "p.jsonl", "p.csv.zst"]))
def test_import_of_an_export_changes_nothing(
    app: Flask, database: Database, file: Path, rows: list[dict[str, Any]], name: str
) -> None:
    source, target = file.with_suffix(".jsonl"), file.with_name(name)
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_file(str(source), Options(on_error="skip"), report=SILENT, unit=a_unit())
    count = export(Filter(), str(target), progress=lambda count: None)
    if name == "p.csv":
        cells = [
            cell for row in csv.reader(target.read_bytes().decode().splitlines()) for cell in row
        ]
        assert [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")] == []
    before = snapshot(database)
    unit = a_unit()
    answer = import_file(str(target), Options(on_conflict="update"), report=SILENT, unit=unit)
    assert (answer["unchanged"], answer["changed"], unit.seq) == (count, False, None)
    assert snapshot(database) == before


def snapshot(database: Database) -> list[Any]:
    tables = ("ops_users", "ops_grants", "ops_audit_events")
    return [database.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables]
