"""Logs of an application: what opsapp leaves out of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.ops.conftest import Start
from tests.support import ROOT, Database

LOGS_ALL = """
import logging
from tests.apps import login_app

logging.basicConfig(level=logging.INFO)
app = login_app.create_app()
"""


def test_application_that_logs_all_has_no_line_of_alembic(
    start: Start, empty_database: Database, tmp_path: Path
) -> None:
    start("login_app")
    (tmp_path / "logs_all.py").write_text(LOGS_ALL)
    environ = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "FLASK_APP": "logs_all"}
    for words in (("init", "--no-wal", "-q"), ("status",), ("doctor",), ("drop", "--yes")):
        done = subprocess.run(
            [sys.executable, "-m", "flask", "ops", *words],
            env=environ, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "alembic" not in done.stderr, words
