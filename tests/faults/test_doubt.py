"""A COMMIT whose answer is lost: the correlation tells whether the change is there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.faults import tally
from tests.faults.amounts import trials
from tests.faults.judging import assert_promises_kept
from tests.faults.lines import Line, line
from tests.support import Database, run
from tests.support.server import served
from tests.support.web import Program

DOUBT = re.compile(
    r"Error: the connection broke during the commit: it may or may not have happened\n"
    r"  → flask audit list --correlation (\S+)\n"
)


@pytest.fixture
def kind() -> str:
    return "postgresql"  # SQLite answers in the same process.


@dataclass
class Far:
    """The database over a line that breaks, and a site that is served from there."""

    line: Line
    database: Database
    program: Program

    def command(self, *words: str) -> str:
        """Run a command whose COMMIT is lost; return the correlation."""
        self.line.break_next()
        done = run(self.database, *words)
        assert (done.exit_code, done.stdout) == (1, ""), done
        doubt = DOUBT.fullmatch(done.stderr)
        assert doubt, done
        return doubt[1]


def by_command(far: Far, email: str) -> str:
    return far.command("users", "create", email, "--no-password")


def by_job(far: Far, email: str) -> str:
    create = ("flask", "users", "create", email, "--no-password")
    return far.command("jobs", "run", "nightly", "--", *create)


def by_import(far: Far, email: str) -> str:
    file = far.database.instance / f"{email}.csv"
    file.write_text(f"email\n{email}\n")
    return far.command("users", "import", file.name)


def by_request(far: Far, email: str) -> str:
    far.line.break_next()
    answer = far.program("POST", "/api/users", json={"email": email})
    assert answer.status_code == 500
    message = "The change may or may not have been made. Look before you repeat it."
    assert answer.json["message"] == message
    assert "Retry-After" not in answer.headers
    return str(answer.json["correlation"])


WAYS: tuple[Callable[[Far, str], str], ...] = (by_command, by_job, by_import, by_request)


@contextmanager
def far_away(database: Database, loses: str) -> Iterator[Far]:
    words = ("users", "tokens", "create", "ada@example.com", "far", "--if-exists", "keep", "-q")
    secret = run(database, *words, check=True).stdout.strip()
    with line(database.url, loses) as breaking:
        far = Database(breaking.url, database.instance)
        with served(far) as site:
            program = Program(site.wire(), secret)
            assert program("GET", "/api/me").status_code == 200
            yield Far(breaking, far, program)


@pytest.mark.parametrize(("loses", "events"), [("question", 0), ("answer", 1)])
def test_lost_commit_is_resolved_by_its_correlation(
    database: Database, ada: str, loses: str, events: int
) -> None:
    with far_away(database, loses) as far:
        for number in trials(1, 50):
            for way in WAYS:
                name = f"{way.__name__.removeprefix('by_')}{number}"
                correlation = way(far, f"{name}@example.com")
                words = ("audit", "list", "--correlation", correlation, "--format", "json")
                assert len(run(database, *words, check=True).json) == events, name
                made = "SELECT count(*) FROM ops_users WHERE email = :email"
                assert database.rows(made, email=f"{name}@example.com") == [(events,)], name
                tally.count(
                    *("Outages", f"{loses} of COMMIT lost", "PostgreSQL"),
                    f"{way.__name__.removeprefix('by_')}: as the audit log says",
                )
    assert_promises_kept(database)
