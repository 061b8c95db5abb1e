"""Commits of a program: what was forgotten, what is refused."""

from __future__ import annotations

import pytest

from tests.support import Database, Result, run
from tests.support.console_play import MAKE


@pytest.mark.parametrize("code", ['sql("UPDATE ops_users SET active = :no", no=False)',
                                  'sql("DELETE FROM ops_grants")'])  # fmt: skip
def test_commit_keeps_an_administrator_from_sql(database: Database, ada: str, code: str) -> None:
    found = run(database, "shell", "-c", f"{code}\ncommit()")
    assert found.exit_code == 5
    assert "Error: this would leave no active administrator who can sign in" in found.stderr
    assert database.rows("SELECT active FROM ops_users") == [(True,)]
    assert database.rows("SELECT count(*) FROM ops_grants") == [(1,)]


def test_commit_without_an_administrator_is_not_refused(database: Database, ada: str) -> None:
    database.execute("UPDATE ops_users SET active = :no", no=False)
    code = "sql(\"UPDATE ops_roles SET description = 'x'\")\nprint(commit())"
    found = run(database, "shell", "-c", code)
    assert (found.exit_code, found.stdout) == (0, "{'ops_roles': '1 updated'}\n")


def test_what_was_not_committed_is_undone(database: Database, ada: str) -> None:
    code = "db.session.execute(sa.text(\"INSERT INTO ops_alembic_version VALUES ('x')\"))"
    found = run(database, "shell", "-c", code)
    assert found.exit_code == 1
    assert found.stderr == (
        "Not committed: ops_alembic_version (1 inserted)."
        " End the program with commit() or rollback().\n"
    )
    assert database.rows("SELECT count(*) FROM ops_alembic_version WHERE version_num = 'x'") == [
        (0,)
    ]


@pytest.mark.parametrize(
    ("code", "left"),
    [
        ("db.session.add(MailMessage(kind='x', recipient='a@b.c', subject='s', body='b'))", 1),
        ("m = MailMessage(kind='x', recipient='a@b.c', subject='s', body='b')\n"
         "db.session.add(m)\ndb.session.flush()", 1),
        ("db.session.add_all(MailMessage(kind='x', recipient=f'{n}@b.c', subject='s', body='b')"
         " for n in range(2))\nMailMessage.query.count()", 2),
    ],
    ids=["added", "flushed", "autoflushed"],
)  # fmt: skip
def test_program_that_forgets_to_commit_fails(
    database: Database, ada: str, code: str, left: int
) -> None:
    found = run(database, "shell", "-c", code)
    changes = "1 change" if left == 1 else f"{left} changes"
    assert (found.exit_code, found.stderr) == (
        1,
        f"Not committed: {changes}. End the program with commit() or rollback().\n",
    )
    for mode, ending, exit_code in (
        ("--write", "commit()", 0),
        ("--write", "rollback()", 0),
        ("--write", "raise SystemExit", 1),
        ("--write", "raise SystemExit(3)", 3),
        ("--sandbox", "pass", 0),
    ):
        assert run(database, "shell", mode, "-c", f"{code}\n{ending}").exit_code == exit_code


@pytest.mark.parametrize("word", ["commit", "end", "rollback"])
def test_transaction_that_sql_ended_is_no_missing_commit(
    database: Database, ada: str, word: str
) -> None:
    code = f"sql(\"UPDATE ops_users SET username = 'eve'\"); sql('{word}')"
    assert run(database, "shell", "-c", code) == Result(0, "", "")
    name = "ada" if word == "rollback" else "eve"
    assert database.rows("SELECT username FROM ops_users") == [(name,)]


def test_service_is_refused_while_changes_wait(database: Database, ada: str) -> None:
    change = "sql(\"UPDATE ops_mail_messages SET subject = 'x'\")"
    add = "db.session.add(MailMessage(kind='x', recipient='a@b.c', subject='s', body='b'))"
    insert = f"{add}\nMailMessage.query.count()"
    for code, words in ((add, "1 change"), (insert, "1 change"), (change, "ops_mail_messages (")):
        found = run(database, "shell", "-c", f"{code}\n{MAKE}")
        assert found.exit_code == 5, found
        line, hint = found.stderr.splitlines()
        assert "a service needs its own transaction, and there are uncommitted changes" in line
        assert words in line
        assert hint == "  → commit() or rollback() first"
    assert run(database, "shell", "-c", f"{add}\ncommit()\n{MAKE}").stdout == "carl\n"
