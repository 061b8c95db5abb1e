"""`flask db backup` on PostgreSQL: the address, the failures and the end of `pg_dump`."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from opsapp.engine import direct
from tests.database.conftest import is_as_before
from tests.support import FLASK, Cli, Database, call
from tests.support.processes import ended, start, until

UNREACHED = "Error: the database cannot be reached: "
PRINTS_NOTHING = "Error: pg_dump failed: it ended with 1\n"


def program(folder: Path, script: str) -> str:
    """A PATH on which ``pg_dump`` is this shell script."""
    folder.mkdir(exist_ok=True)
    file = folder / "pg_dump"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 1", "pg_dump failed: it ended with 1"),
        ("exit 0", "pg_restore failed: input file is too short (read 0, expected 5)"),
        ('echo rubbish >"${3#--file=}"', "pg_restore failed: input file does not appear to be a"),
        ("echo 'pg_dump: error: no room' >&2; echo 'pg_dump: hint: x' >&2; exit 1",
         "pg_dump failed: no room"),
        ("echo 'pg_dump: error: old' >&2; echo 'pg_dump: detail: 15' >&2; exit 1",
         "pg_dump failed: old; 15"),
    ],
)  # fmt: skip
def test_failed_dump_replaces_no_copy(
    database: Database, postgresql_only: None, tmp_path: Path, copy: Path, script: str, message: str
) -> None:
    path = program(tmp_path / "bin", script)
    result = call(database, "db", "backup", str(copy), "--overwrite", PATH=path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {message}")
    assert is_as_before(copy)


def test_dump_ends_with_the_process_that_was_killed(
    database: Database, postgresql_only: None, tmp_path: Path, copy: Path
) -> None:
    path = program(tmp_path / "bin", f"echo $$ >{tmp_path}/pid; exec sleep 1000")
    command = ("env", f"PATH={path}", FLASK, "db", "backup", str(copy), "--overwrite")
    process = start(database, *command)
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    process.kill()
    assert ended(process).exit_code == -9
    dump = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    until(lambda: not dump.exists() or ") Z " in dump.read_text())
    until(lambda: is_as_before(copy))


KILLED = """
import os, signal, sys
from pathlib import Path
from opsapp.files.drafts import Draft
def killed(draft, program):
    Path("started").write_text(str(program.pid))
    os.kill(os.getpid(), signal.SIGKILL)
Draft.supervise = killed
sys.argv[:] = ["flask", "db", "backup", "copy"]
from flask.cli import main
main()
"""


def test_dump_does_not_begin_if_the_process_is_killed_before_its_guardian_knows(
    database: Database, postgresql_only: None, tmp_path: Path
) -> None:
    path = program(tmp_path / "bin", "touch begun; exec sleep 1000")
    process = start(database, "env", f"PATH={path}", sys.executable, "-c", KILLED)
    assert ended(process).exit_code == -9
    dump = Path("/proc", (database.instance / "started").read_text(), "stat")
    until(lambda: not dump.exists() or ") Z " in dump.read_text())
    assert not (database.instance / "begun").exists()
    until(lambda: not (database.instance / ".copy.part").exists())


@pytest.fixture
def no_look_at_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """For URLs of servers that do not exist: no connection is tried before the dump."""

    def unconnected(engine: sa.Engine) -> AbstractContextManager[SimpleNamespace]:
        return nullcontext(SimpleNamespace(engine=engine))

    monkeypatch.setattr(direct, "connect", unconnected)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("u:p%2Bw@h/db", "dbname=db user=u host=h"),
        ("u@/db?host=a:1&host=b:2&password=p%2Bw", "dbname=db user=u host=a,b port=1,2"),
        ("u:p%2Bw@h/db?application_name=a+b&sslmode=require&options=-csearch_path%3Dapp",
         "application_name='a b' dbname=db host=h options=-csearch_path=app sslmode=require"
         " user=u"),
        ("u:p%2Bw@h/db?connect_timeout=3", "connect_timeout=3 dbname=db host=h user=u"),
    ],
)  # fmt: skip
def test_dump_is_given_the_words_of_libpq(
    database: Database,
    postgresql_only: None,
    no_look_at_the_server: None,
    tmp_path: Path,
    url: str,
    expected: str,
) -> None:
    log = tmp_path / "log"
    path = program(tmp_path / "bin", f'printf "%s\\n" "$@" "$PGPASSWORD" >{log}; exit 1')
    url = f"postgresql://{url}"
    result = call(database, "db", "backup", "copy", PATH=path, OPSAPP_DATABASE_URL=url)
    assert (result.exit_code, result.stderr) == (1, PRINTS_NOTHING)
    *words, target, password = log.read_text().splitlines()
    assert words[:2] == ["--format=custom", "--no-password"]
    conninfo = target.removeprefix("--dbname=")
    if "application_name" in conninfo:
        assert "application_name='a b'" in conninfo
        conninfo, expected = conninfo.replace("a b", "a_b"), expected.replace("a b", "a_b")
    assert set(expected.split()) <= set(conninfo.split())
    assert [word for word in conninfo.split() if word.startswith("connect_timeout=")] == [
        "connect_timeout=3" if "connect_timeout=3" in expected else "connect_timeout=5"
    ]
    assert password == "p+w"
    assert "p+w" not in "".join((*words, target))


def test_dump_shows_no_secret_of_the_url(
    database: Database, postgresql_only: None, no_look_at_the_server: None, tmp_path: Path
) -> None:
    path = program(tmp_path / "bin", "exit 0")
    url = "postgresql://h/db?sslpassword=canary"
    result = call(database, "db", "backup", "copy", PATH=path, OPSAPP_DATABASE_URL=url)
    assert (result.exit_code, result.stderr) == (
        7,
        "Error: pg_dump would show the URL's sslpassword to every user of this host\n"
        "  → write it into ~/.pg_service.conf, and service=NAME into the URL\n",
    )


@pytest.fixture
def silent_server() -> Iterator[int]:
    """The port of a server that accepts, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("u@127.0.0.1:{port}/db?connect_timeout=2", "timeout expired"),
        ("127.0.0.1:1/db", "Connection refused"),
        ("/db?host=127.0.0.1:1&host=127.0.0.1:1", "Connection refused"),
    ],
)
def test_server_that_cannot_be_reached_leaves_the_old_copy(
    database: Database,
    postgresql_only: None,
    silent_server: int,
    copy: Path,
    place: str,
    reason: str,
) -> None:
    url = f"postgresql://{place.format(port=silent_server)}"
    result = call(database, "db", "backup", str(copy), "--overwrite", OPSAPP_DATABASE_URL=url)
    assert result.exit_code == 7
    assert result.stderr.startswith(UNREACHED)
    assert reason in result.stderr
    assert is_as_before(copy)


def test_whole_postgresql_copy_replaces_the_old_one(
    cli: Cli, postgresql_only: None, copy: Path
) -> None:
    assert cli("db", "backup", str(copy), "--overwrite").exit_code == 0
    listing = subprocess.run(
        [shutil.which("pg_restore") or "", "--list", copy], capture_output=True, check=True
    )
    assert b"TABLE DATA public ops_audit_events" in listing.stdout
