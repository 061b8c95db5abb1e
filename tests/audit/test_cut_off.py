"""A command whose database goes away amid an answer: one line, no driver's traceback."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.support import Database, a_unit, run_afresh

CUT = """
import os
import signal
import psycopg
import opsapp
from opsapp.audit import verification

over = verification._Walk.over

def over_and_out(walk, page):
    met = over(walk, page)
    name = os.environ["OPSAPP_DATABASE_URL"].rpartition("/")[2].partition("?")[0]
    with psycopg.connect(os.environ["ADMIN_URL"], autocommit=True) as server:
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
    if os.environ["HOW"] == "and Ctrl-C":
        os.kill(os.getpid(), signal.SIGINT)
    return met

verification._Walk.over = over_and_out
create_app = opsapp.create_app
"""


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("how", "exit_code", "says"),
    [
        (
            "alone",
            7,
            "Error: the database cannot be reached: terminating connection due to administrator"
            " command\n  → flask doctor\n",
        ),
        ("and Ctrl-C", 130, "Stopped by SIGINT: nothing was changed.\n"),
    ],
)
def test_verify_that_is_cut_off_says_so_in_one_line(
    app: Flask, database: Database, postgres: str, how: str, exit_code: int, says: str
) -> None:
    with a_unit() as unit:
        for number in range(2001):  # More than a page.
            unit.record("test:page:fill", f"role:{number}")
    (database.instance / "cut.py").write_text(CUT)

    admin = postgres.format("postgres")
    done = run_afresh(database, "audit", "verify", FLASK_APP="cut", ADMIN_URL=admin, HOW=how)

    assert (done.exit_code, done.stdout, done.stderr) == (exit_code, "", says)
