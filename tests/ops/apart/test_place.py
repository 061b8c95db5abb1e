"""The database of our tables: named, refused, shown, and left again."""

from __future__ import annotations

import json

import pytest

from tests.ops.apart.conftest import Apart, on
from tests.support import run


@on(("mariadb", "sqlite"))
def test_init_without_a_database_of_its_own_names_the_setting(apart: Apart) -> None:
    refused = apart.run("init", OPSAPP_DATABASE_URL="")
    assert (refused.exit_code, refused.stdout) == (7, "")
    assert refused.stderr == (
        "Error: opsapp's tables cannot be in a mysql database\n"
        "  → OPSAPP_DATABASE_URL=sqlite:////srv/ops.sqlite or postgresql://USER@HOST/NAME:"
        " a database of their own\n"
    )


@on(("mariadb", "sqlite"))
def test_commands_without_mysql_refuse_it(apart: Apart) -> None:
    for words in (["query", "SELECT 1"], ["shell", "--read-only", "-c", "1"]):
        refused = apart.run(*words)
        assert (refused.exit_code, refused.stdout) == (5, "")
        assert refused.stderr == "Error: a mysql database cannot be opened read-only\n"
    sandbox = apart.run("shell", "--sandbox", "-c", "1")
    assert sandbox.exit_code == 5
    assert "a sandbox is one PostgreSQL database, or copies of SQLite files" in sandbox.stderr
    backup = apart.run("backup", "copy")
    assert (backup.exit_code, backup.stderr) == (
        5, "Error: opsapp cannot copy a mysql database\n  → use its own program\n",
    )  # fmt: skip


@on(("sqlite", "postgresql"), ("mariadb", "sqlite"))
def test_whole_console_stands_on_the_second_database(apart: Apart) -> None:
    assert apart.run("init").stderr == "Already so: nothing was changed.\n"
    assert apart.run("jobs", "run", "hello", "--", "echo", "hi").stdout == "hi\n"
    assert "hello" in apart.run("jobs", "history", check=True).stdout
    status = json.loads(apart.run("status", "--format", "json", check=True).stdout)
    assert (status["ready"], status["events"]) == (True, 1)
    settings = json.loads(apart.run("doctor", "--settings", "--format", "json").stdout)
    [row] = [row for row in settings if row["name"] == "OPSAPP_DATABASE_URL"]
    assert (row["value"], row["source"]) == ("•••", "environment")
    doctor = json.loads(apart.run("doctor", "--format", "json").stdout)
    assert [row["check"] for row in doctor if row["state"] == "fail"] == []
    promises = json.loads(apart.run("identity", "--promises", "--format", "json").stdout)
    weaker = {row["promise"] for row in promises if row["state"] == "weaker"}
    assert {
        "changes through flask ops are audited",
        "changes by the application's own code are audited",
    } <= weaker
    dropped = apart.run("drop", "--yes", "--format", "json", check=True)
    assert len(json.loads(dropped.stdout)) == 13
    assert apart.rows("SELECT count(*) FROM ab_user") == [(2,)]


@on(("mariadb", "sqlite"))
def test_shell_changes_in_two_databases(apart: Apart) -> None:
    code = "U(1).username = 'grace'; commit()"
    done = apart.run("shell", "--write", "--reason", "typo", "-c", code)
    assert done.exit_code == 0, done.stderr
    assert apart.rows("SELECT username FROM ab_user WHERE id = 1") == [("grace",)]
    actions = [action for _seq, action, _subject in apart.events]
    assert "intent:console:changes:commit" in actions
    assert "console:changes:commit" in actions


@pytest.mark.parametrize("suffix", ["", "?timeout=5"])
def test_url_of_the_applications_own_database_is_no_second_one(
    suffix: str, apart: Apart, theirs: str
) -> None:
    assert theirs.startswith("mysql")  # The fixture's; this application has the file of ours.
    file = apart.ours.url
    environ = {**apart.environ, "THEIR_DATABASE_URL": file + suffix}
    environ["FLASK_APP"] = "tests.apps.relation_app:create_app"
    promises = run(apart.ours, "ops", "identity", "--promises", "--format", "json", **environ)
    first = json.loads(promises.stdout)[0]
    assert (first["state"], first["because"]) == ("holds", "in the transaction of the change")


@on(("sqlite", "sqlite"))
def test_sandbox_of_two_files_leaves_nothing(apart: Apart) -> None:
    code = "U(1).username = 'grace'; commit()"
    done = apart.run("shell", "--sandbox", "-c", code)
    assert done.exit_code == 0, done.stderr
    assert apart.rows("SELECT username FROM ab_user WHERE id = 1") == [("ada",)]
    actions = [action for _seq, action, _subject in apart.events]
    assert actions == ["console:session:open", "console:session:close"]
