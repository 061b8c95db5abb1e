"""`flask ops` with the core only: no package of an extra is installed."""

from __future__ import annotations

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
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, "ops", *words.split()],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MAIL_SERVER": "localhost",
            "MAIL_DEFAULT_SENDER": "ops@example.com",
        },
        cwd=empty_database.instance,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "cannot be loaded" not in done.stdout
    assert "is not installed" not in done.stdout + done.stderr
