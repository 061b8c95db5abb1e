"""The database of our tables: named, refused, shown, and left again."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.ops.separate_database.conftest import Installation, on
from tests.support import run


@on(("mariadb", "sqlite"))
def test_init_without_a_database_of_its_own_names_the_setting(installation: Installation) -> None:
    refused = installation.run("init", OPSAPP_DATABASE_URL="")
    assert (refused.exit_code, refused.stdout) == (7, "")
    assert refused.stderr == (
        "Error: opsapp's tables cannot be in a mysql database\n"
        "  → OPSAPP_DATABASE_URL=sqlite:////srv/ops.sqlite or postgresql://USER@HOST/NAME:"
        " a database of their own\n"
    )


@on(("mariadb", "sqlite"))
def test_commands_without_mysql_refuse_it(installation: Installation) -> None:
    for words in (["SELECT 1"], ["--tables"]):
        refused = installation.run("query", *words)
        assert (refused.exit_code, refused.stdout) == (5, "")
        assert refused.stderr == (
            "Error: opsapp cannot query a mysql database\n  → flask ops shell --read-only\n"
        )
    sandbox = installation.run("shell", "--sandbox", "-c", "1")
    assert sandbox.exit_code == 5
    assert "a sandbox is one PostgreSQL database, or copies of SQLite files" in sandbox.stderr
    backup = installation.run("backup", "copy")
    assert (backup.exit_code, backup.stderr) == (
        5,
        "Error: opsapp cannot copy a mysql database\n"
        "  → copy it by its own program, and opsapp's own database too\n",
    )  # fmt: skip


@on(("sqlite", "postgresql"), ("mariadb", "sqlite"))
def test_whole_console_stands_on_the_second_database(installation: Installation) -> None:
    assert installation.run("init").stderr == "Already so: nothing was changed.\n"
    assert installation.run("jobs", "run", "hello", "--", "echo", "hi").stdout == "hi\n"
    assert "hello" in installation.run("jobs", "history", check=True).stdout
    status = json.loads(installation.run("status", "--format", "json", check=True).stdout)
    assert (status["ready"], status["events"]) == (True, 1)
    settings = json.loads(installation.run("doctor", "--settings", "--format", "json").stdout)
    [row] = [row for row in settings if row["name"] == "OPSAPP_DATABASE_URL"]
    assert (row["value"], row["source"]) == ("•••", "environment")
    doctor = json.loads(installation.run("doctor", "--format", "json").stdout)
    assert [row["check"] for row in doctor if row["state"] == "fail"] == []
    promises = json.loads(installation.run("identity", "--promises", "--format", "json").stdout)
    weaker = {row["promise"] for row in promises if row["state"] == "weaker"}
    assert {
        "changes through flask ops are audited",
        "changes by the application's own code are audited",
    } <= weaker
    dropped = installation.run("drop", "--yes", "--format", "json", check=True)
    assert len(json.loads(dropped.stdout)) == 13
    assert installation.rows("SELECT count(*) FROM ab_user") == [(2,)]


@on(("mariadb", "sqlite"))
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ab_user SET username = 'eve'",
        "DELETE FROM ab_user_role",
        "CREATE TABLE evil (id INT)",
        "DROP TABLE ab_user_role",
        "TRUNCATE TABLE ab_user_role",
    ],
)
def test_read_only_shell_writes_nothing_on_mysql(
    installation: Installation, statement: str
) -> None:
    assert installation.run("shell", "--read-only", "-c", "print(U(1).username)").stdout == "ada\n"
    code = f"import sqlalchemy as sa; db.session.execute(sa.text({statement!r}))"
    refused = installation.run("shell", "--read-only", "-c", code)
    assert (refused.exit_code, refused.stdout) == (5, "")
    # MySQL has no sandbox.
    assert refused.stderr == "Error: this session is read-only\n  → flask ops shell --write\n"
    assert installation.rows("SELECT username FROM ab_user") == [("ada",), ("bob",)]
    assert installation.roles == [(2,)]
    assert not [row for row in installation.rows("SHOW TABLES") if row == ("evil",)]


@on(("sqlite", "sqlite"), ("sqlite", "postgresql"))
def test_backup_is_of_both_databases(installation: Installation, tmp_path: Path) -> None:
    copy, own = tmp_path / "copy", tmp_path / "copy.ops"
    done = installation.run("backup", str(copy), "--format", "json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == {
        "changed": True,
        "audit_seq": 2,
        "file": str(copy),
        "bytes": copy.stat().st_size,
        "own_file": str(own),
        "own_bytes": own.stat().st_size,
    }
    with closing(sqlite3.connect(copy)) as theirs:
        assert theirs.execute("SELECT username FROM ab_user").fetchall() == [("ada",), ("bob",)]
    assert own.read_bytes()[:5] == (b"SQLit" if installation.ours.is_sqlite else b"PGDMP")
    stream = installation.run("backup", "-")
    assert (stream.exit_code, stream.stdout, stream.stderr) == (
        2, "", "Error: two databases cannot be written to one stream\n  → flask ops backup FILE\n",
    )  # fmt: skip


@on(("sqlite", "sqlite"))
def test_backup_places_both_copies_or_none(installation: Installation, tmp_path: Path) -> None:
    copy, own = tmp_path / "copies" / "copy", tmp_path / "copies" / "copy.ops"
    copy.parent.mkdir()
    for present, absent in ((copy, own), (own, copy)):
        present.write_text("yesterday's")
        refused = installation.run("backup", str(copy))
        assert (refused.exit_code, refused.stdout) == (3, "")
        assert refused.stderr == (f"Error: {present} exists already\n  → --overwrite replaces it\n")
        assert present.read_text() == "yesterday's"
        assert not absent.exists()
        present.unlink()
    assert installation.run("backup", str(copy), "--dry-run").exit_code == 0
    assert list(copy.parent.iterdir()) == []
    assert installation.events == []


@on(("sqlite", "sqlite"))
def test_both_copies_put_back_are_the_state_of_their_moment(
    installation: Installation, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    installation.run("backup", str(copy), check=True)
    installation.run("users", "deactivate", "ada", "--yes", check=True)
    checkpoint = tmp_path / "checkpoint"
    checkpoint.write_text(installation.run("audit", "checkpoint", check=True).stdout)
    for file, place in (
        (copy, installation.theirs),
        (tmp_path / "copy.ops", installation.ours.url),
    ):
        path = Path(place.removeprefix("sqlite:///"))
        for name in (path.name + "-wal", path.name + "-shm"):
            path.with_name(name).unlink(missing_ok=True)
        shutil.copyfile(file, path)
    assert installation.rows("SELECT active FROM ab_user WHERE id = 1") == [(1,)]
    assert installation.events == []
    known = ("--checkpoint", str(checkpoint))
    assert installation.run("audit", "verify", *known).exit_code == 6
    installation.run("audit", "rebase", *known, "--reason", "disk lost", "--yes", check=True)
    assert installation.run("audit", "verify").exit_code == 0


@on(("mariadb", "sqlite"))
def test_shell_changes_in_two_databases(installation: Installation) -> None:
    code = "U(1).username = 'grace'; commit()"
    done = installation.run("shell", "--write", "--reason", "typo", "-c", code)
    assert done.exit_code == 0, done.stderr
    assert installation.rows("SELECT username FROM ab_user WHERE id = 1") == [("grace",)]
    actions = [action for _seq, action, _subject in installation.events]
    assert "intent:console:changes:commit" in actions
    assert "console:changes:commit" in actions


@pytest.mark.parametrize("suffix", ["", "?timeout=5"])
def test_url_of_the_applications_own_database_is_no_second_one(
    suffix: str, installation: Installation, theirs: str
) -> None:
    assert theirs.startswith("mysql")  # The fixture's; this application has the file of ours.
    file = installation.ours.url
    environ = {**installation.environ, "THEIR_DATABASE_URL": file + suffix}
    environ["FLASK_APP"] = "tests.apps.relation_app:create_app"
    promises = run(
        installation.ours, "ops", "identity", "--promises", "--format", "json", **environ
    )
    first = json.loads(promises.stdout)[0]
    assert (first["state"], first["because"]) == ("holds", "in the transaction of the change")


@on(("sqlite", "sqlite"))
def test_sandbox_of_two_files_leaves_nothing(installation: Installation) -> None:
    code = "U(1).username = 'grace'; commit()"
    done = installation.run("shell", "--sandbox", "-c", code)
    assert done.exit_code == 0, done.stderr
    assert installation.rows("SELECT username FROM ab_user WHERE id = 1") == [("ada",)]
    actions = [action for _seq, action, _subject in installation.events]
    assert actions == ["console:session:open", "console:session:close"]
