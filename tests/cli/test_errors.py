"""Every row of the exit-code table, through real commands: code, stdout, stderr, and the JSON."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from opsapp import errors
from opsapp.cli.errors import code_of
from tests.cli.conftest import expect, expect_json
from tests.support import CORE, Cli, Database, call, move_core, run, run_afresh


def table() -> dict[str, type[errors.OpsError]]:
    return {kind.__name__: kind for kind in (errors.OpsError, *errors.OpsError.__subclasses__())}


def test_docstring_draws_the_table_that_the_classes_are() -> None:
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        words = line.strip("├└─ ").split()
        if len(words) > 3 and words[1].isdigit() and words[2].isdigit():
            drawn[words[0]] = (int(words[1]), int(words[2]))
    assert drawn == {name: (kind.exit_code, kind.http_status) for name, kind in table().items()}


@pytest.mark.parametrize(("code", "status"), [(None, 0), (0, 0), (3, 3), ("no", 1)])
def test_exit_of_a_program_has_its_code(code: object, status: int) -> None:
    assert code_of(SystemExit(code)) == status


def test_failed_is_1(cli: Cli, ada: str, tmp_path: Path) -> None:
    target = tmp_path / "missing" / "backup"
    message = f"{target} cannot be written: No such file or directory"
    expect(cli("db", "backup", str(target)), 1, stderr=f"Error: {message}\n")
    found = cli("db", "backup", str(target), "--format", "json")
    expect_json(found, "failed", 1, message, None)


def test_usage_is_2(cli: Cli) -> None:
    usage = "Usage: flask users show [OPTIONS] USER\nTry 'flask users show --help' for help.\n\n"
    expect(cli("users", "show"), 2, stderr=f"{usage}Error: Missing argument 'USER'.\n")
    found = cli("users", "show", "--format", "json")
    expect_json(found, "invalid", 2, "Missing argument 'USER'.", None)


def test_format_of_another_program_is_none_of_ours(cli: Cli) -> None:
    done = cli("jobs", "run", "no name", "--", "report", "--format", "json")
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: ")


def test_invalid_input_is_2(cli: Cli) -> None:
    message = (
        "NAME has the character U+001B at position 3, which a terminal would obey and not show"
    )
    expect(cli("roles", "create", "ab\x1b[31m"), 2, stderr=f"Error: {message}\n")
    found = cli("roles", "create", "ab\x1b[31m", "--format=json")
    expect_json(found, "invalid", 2, message, None)


def test_conflict_is_3(cli: Cli, ada: str) -> None:
    message = "user ada@example.com exists already, with id 1"
    hint = "flask users show 1, or --if-exists keep"
    args = ("users", "create", "ADA@example.com", "--no-password")
    expect(cli(*args), 3, stderr=f"Error: {message}\n  → {hint}\n")
    expect_json(cli(*args, "--format", "json"), "conflict", 3, message, hint)


def test_not_found_is_4_and_suggests_the_nearest(cli: Cli, ada: str) -> None:
    message, hint = "no user ada@exampel.com", "did you mean ada@example.com?"
    args = ("users", "show", "ada@exampel.com")
    expect(cli(*args), 4, stderr=f"Error: {message}\n  → {hint}\n")
    expect_json(cli(*args, "--format", "json"), "not-found", 4, message, hint)


def test_refused_by_a_guard_is_5(cli: Cli, ada: str) -> None:
    message = "this would leave no active administrator who can sign in"
    hint = "flask users create-admin EMAIL"
    args = ("roles", "revoke", "admin", "ada")
    expect(cli(*args), 5, stderr=f"Error: {message}\n  → {hint}\n")
    expect_json(cli(*args, "--format", "json"), "refused", 5, message, hint)


def test_refused_without_a_terminal_to_ask_on_is_5(cli: Cli, bob: str) -> None:
    question = "Erase the personal data of bob@example.com (id 2) for good?"
    message = f"{question} Cannot ask: there is no terminal"
    args = ("users", "delete", "bob")
    expect(cli(*args), 5, stderr=f"Error: {message}\n  → add --yes\n")
    expect_json(cli(*args, "--format", "json"), "refused", 5, message, "add --yes")


def test_findings_are_6_and_the_answer_is_still_given(cli: Cli, bob: str) -> None:
    found = cli("users", "can", "bob", "users:read", "--format", "json")
    assert found.exit_code == 6
    assert found.json["allowed"] is False
    assert found.json["because"] == "no live grant gives it: admin would give it"
    assert found.stderr == ""


def test_uninitialised_database_is_7(empty_database: Database) -> None:
    hint = "flask db init"
    message = (
        f"there is no database file {empty_database.instance}/opsapp.sqlite"
        if empty_database.is_sqlite
        else 'the database is not initialised or behind: relation "ops_users" does not exist'
    )
    found = call(empty_database, "users", "list")
    expect(found, 7, stderr=f"Error: {message}\n  → {hint}\n")
    found = call(empty_database, "users", "list", "--format", "json")
    expect_json(found, "not-ready", 7, message, hint)
    assert not (empty_database.instance / "opsapp.sqlite").exists()


def test_database_behind_its_migrations_is_7_for_a_change(cli: Cli, database: Database) -> None:
    move_core(database, "core0000")
    message = f"the tables of core are at revision core0000, and this code is at {CORE}"
    args = ("roles", "create", "support")
    expect(cli(*args), 7, stderr=f"Error: {message}\n  → flask db init\n")
    found = cli(*args, "--format", "json")
    expect_json(found, "not-ready", 7, message, "flask db init")
    assert cli("roles", "list").exit_code == 0


def test_unreachable_server_is_7_and_keeps_its_password(database: Database) -> None:
    url = "postgresql://ops:canary-secret@127.0.0.1:1/nothing"
    found = call(database, "users", "list", OPSAPP_DATABASE_URL=url)
    assert (found.exit_code, found.stdout) == (7, "")
    start = "Error: the database cannot be reached: connection failed"
    assert found.stderr.startswith(start)
    assert "canary-secret" not in found.stderr
    found = call(database, "users", "list", "--format=json", OPSAPP_DATABASE_URL=url)
    assert json.loads(found.stderr)["code"] == "not-ready"
    assert found.exit_code == 7


def test_missing_secret_in_production_is_7(database: Database) -> None:
    message = "SECRET_KEY is not set, and OPSAPP_ENV is production"
    make = 'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
    hint = f"for a new installation: {make}"
    found = call(database, "users", "list", OPSAPP_ENV="production")
    expect(found, 7, stderr=f"Error: {message}\n  → {hint}\n")
    found = call(database, "users", "list", "--format", "json", OPSAPP_ENV="production")
    expect_json(found, "not-ready", 7, message, hint)


def test_unwritable_audit_is_7_and_nothing_is_changed(cli: Cli, database: Database) -> None:
    if database.is_sqlite:
        database.execute(
            "CREATE TRIGGER stop BEFORE INSERT ON ops_audit_events"
            " BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    else:
        database.execute(
            "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION 'the disk is full' USING ERRCODE = '53100'; END$$"
        )
        database.execute(
            "CREATE TRIGGER stop BEFORE INSERT ON ops_audit_events"
            " FOR EACH ROW EXECUTE FUNCTION stop()"
        )
    message = "the audit log cannot be written, so nothing was changed: the disk is full"
    args = ("roles", "create", "support")
    expect(cli(*args), 7, stderr=f"Error: {message}\n  → flask doctor\n")
    expect_json(cli(*args, "--format", "json"), "not-ready", 7, message, "flask doctor")
    assert database.rows("SELECT count(*) FROM ops_roles") == [(1,)]


def test_statement_that_takes_too_long_is_124(postgres: str, cli: Cli, database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite has no statement timeout")
    database.execute("ALTER TABLE ops_roles RENAME TO slow")
    database.execute("CREATE VIEW ops_roles AS SELECT slow.* FROM slow, pg_sleep(30)")
    message = "the database gave up: canceling statement due to statement timeout"
    found = call(database, "roles", "list", OPSAPP_STATEMENT_TIMEOUT="0.2")
    expect(found, 124, stderr=f"Error: {message}\n")
    found = call(database, "roles", "list", "--format", "json", OPSAPP_STATEMENT_TIMEOUT="0.2")
    expect_json(found, "timed-out", 124, message, None)


def test_unexpected_error_shows_an_id_and_logs_the_rest(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise RuntimeError("postgresql://ops:canary-secret@db/x broke")

    monkeypatch.setattr("opsapp.accounts.roles.listing", broken)
    found = cli("roles", "list")
    log = database.instance / "errors.log"
    entry = json.loads(log.read_text())
    expect(
        found,
        1,
        stderr=f"Error: something unexpected happened (error {entry['id']})\n"
        f"  → {log} has the details\n",
    )
    assert "RuntimeError" in entry["traceback"]
    assert "canary-secret" not in entry["traceback"]
    assert log.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_unexpected_error_is_said_where_its_log_is_a_pipe(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise RuntimeError("broke")

    monkeypatch.setattr("opsapp.accounts.roles.listing", broken)
    monkeypatch.setattr("opsapp.cli.error_log.token_hex", lambda _size: "0badcafe")
    os.mkfifo(database.instance / "errors.log")
    expect(
        cli("roles", "list"),
        1,
        stderr="Error: something unexpected happened (error 0badcafe)\n"
        "  → flask --debug … shows the details\n",
    )


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            OSError(errno.EACCES, "Permission denied", "/a\x1b/file"),
            r"/a\x1b/file: Permission denied",
        ),
        (OSError("no room in the library"), "no room in the library"),
    ],
    ids=["of a file", "of a library"],
)
def test_error_of_the_system_is_1(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: OSError, says: str
) -> None:
    def broken() -> Any:
        raise error

    monkeypatch.setattr("opsapp.accounts.roles.listing", broken)
    expect(cli("roles", "list"), 1, stderr=f"Error: {says}\n")


def test_unexpected_error_shows_its_traceback_with_debug(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise RuntimeError("this is why")

    monkeypatch.setattr("opsapp.accounts.roles.listing", broken)
    monkeypatch.setenv("FLASK_DEBUG", "1")
    found = cli("roles", "list")
    assert found.exit_code == 1
    assert "RuntimeError: this is why" in found.stderr


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_condition_is_a_line_where_an_application_has_debug_on(empty_database: Database) -> None:
    words = ("roles", "list")
    empty_database.instance.mkdir(exist_ok=True)
    (empty_database.instance / "opsapp.sqlite").touch()
    line = "Error: the database is not initialised or behind: no such table: ops_grants\n"
    said = f"{line}  → flask db init\n"
    expect(run(empty_database, *words, FLASK_DEBUG="1"), 7, stderr=said)
    answer = run(empty_database, "--debug", *words)
    assert (answer.exit_code, answer.stderr[: len(said)]) == (7, said)
    assert "\nTraceback (most recent call last):\n" in answer.stderr
    for_programs = run(empty_database, "--debug", *words, "--format", "json")
    assert json.loads(for_programs.stderr)["exit_code"] == 7


def test_lost_connection_during_commit_names_the_way_to_find_out(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opsapp.accounts import roles
    from opsapp.extensions import db
    from tests.support import a_unit

    def broken() -> None:
        raise sa.exc.OperationalError("COMMIT", {}, Exception("gone"), connection_invalidated=True)

    unit = a_unit()
    monkeypatch.setattr(db.session(), "commit", broken)
    with pytest.raises(errors.InDoubt) as caught:
        roles.create("support", unit=unit)
    assert caught.value.message == (
        "the connection broke during the commit: it may or may not have happened"
    )
    assert caught.value.hint == f"flask audit list --correlation {unit.correlation}"
    assert unit.committed is False


def test_group_without_a_command_shows_its_help(database: Database) -> None:
    found = call(database, "users")
    assert found.exit_code == 2
    assert "Manage accounts, sessions, tokens and passwords." in found.stdout + found.stderr


# --- remarks -----------------------------------------------------------------


def test_stderr_of_json_is_one_object_or_nothing(cli: Cli, database: Database) -> None:
    made = cli("roles", "create", "support", "--format", "json")
    assert (made.exit_code, made.stderr) == (0, "")
    again = cli("roles", "create", "support", "--if-exists", "keep", "--format", "json")
    assert (again.exit_code, again.json["changed"], again.stderr) == (0, False, "")
    dry = cli("roles", "create", "other", "--dry-run", "--format", "json")
    assert (dry.json["dry_run"], dry.stderr) == (True, "")
    remark = "No code asks for roles:raed: did you mean roles:read?"
    done = cli("roles", "allow", "support", "roles:raed", "--format", "json")
    assert (done.exit_code, json.loads(done.stderr)) == (0, {"remarks": [remark]})
    failed = cli("roles", "allow", "nosuch", "roles:raed", "--format", "json")
    error = json.loads(failed.stderr)
    assert (error["code"], error["exit_code"], error["remarks"]) == ("not-found", 4, [remark])
    rows = cli("roles", "list", "--format", "jsonl", "--dry-run")
    assert json.loads(rows.stderr)["code"] == "invalid"


def test_name_that_flask_does_not_know_is_one_json_object(database: Database) -> None:
    done = run_afresh(database, "nosuch", "--format", "json")
    expect_json(done, "invalid", 2, "No such command 'nosuch'.", None)
    plain = run_afresh(database, "nosuch")
    assert (plain.exit_code, plain.stdout) == (2, "")
    assert plain.stderr.startswith("Usage: ")
