"""`flask ops` with the core only: no package of an extra is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from opsapp.extras import EXTRAS
from tests.ops.conftest import Start
from tests.support import ROOT, Database

WITHOUT_EXTRAS = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {set(EXTRAS) - {"psycopg"}!r}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Absent())
from flask.cli import main
main()
"""


def run_alone(database: Database, *words: str, sender: str) -> subprocess.CompletedProcess[str]:
    """``flask ops WORDS`` in a process that can import no package of an extra."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, "ops", *words],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MAIL_SERVER": "localhost",
            "MAIL_DEFAULT_SENDER": sender,
        },
        cwd=database.instance,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("doctor", 6),
        *((words, 0) for words in ("status", "identity", "users list", "roles list")),
        *((words, 0) for words in ("audit verify", "jobs list", "mail list", "profile report")),
    ],
)
def test_core_alone_serves_an_application(
    start: Start, empty_database: Database, words: str, code: int
) -> None:
    start("flag_app")("ops", "init", "--no-wal", check=True)
    done = run_alone(empty_database, *words.split(), sender="ops@example.com")
    assert done.returncode == code, done.stderr
    assert "cannot be loaded" not in done.stdout
    assert "is not installed" not in done.stdout + done.stderr


def test_check_that_needs_an_extra_names_it_beside_the_other_checks(
    start: Start, empty_database: Database
) -> None:
    start("flag_app")("ops", "init", "--no-wal", check=True)
    done = run_alone(empty_database, "doctor", "--format", "json", sender="ü@example.com")
    rows = {row["check"]: row for row in json.loads(done.stdout)}
    assert (done.returncode, rows["tables"]["state"]) == (6, "ok")
    assert rows["mail"] == {
        "state": "warn",
        "check": "mail",
        "says": "this needs flask_mailman, which is not installed",
        "advice": "pip install 'opsapp[mail]'",
    }
