"""An application whose program is a group of its own, as Superset's and FlaskBB's are."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.apps import login_app
from tests.ops.conftest import OURS
from tests.support import Database, Result

ROOT = Path(__file__).parents[2]


@pytest.fixture
def blog(
    empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_only: None
) -> Callable[..., Result]:
    environ = {
        "THEIR_DATABASE_URL": empty_database.url,
        "THEIR_MIGRATIONS": str(tmp_path / "migrations"),
        "PYTHONPATH": str(ROOT),
        **OURS,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with login_app.create_app().app_context():
        login_app.db.create_all()
        login_app.db.engine.dispose()

    def blog(*words: str) -> Result:
        command = [sys.executable, "-m", "tests.apps.program_app", *words]
        environ_of_all = {**empty_database.environ, **environ}
        folder = empty_database.instance
        done = subprocess.run(
            command, env=environ_of_all, cwd=folder, capture_output=True, text=True, check=False
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return blog


def test_program_keeps_its_commands(blog: Callable[..., Result]) -> None:
    for words, answer in (
        (("users", "list"), "no readers\n"),
        (("audit",), "no posts\n"),  # The name of our first entry point.
        (("shell",), "a shell of the blog\n"),
    ):
        assert blog(*words) == Result(0, answer, "")
    listed = blog("--help").stdout.partition("Commands:\n")[2]
    assert re.sub("(?<=\\w)  +", "  ", listed) == (
        "  audit  Count the posts.\n"
        "  db  Perform database migrations.\n"
        "  ops  Operate this application: users, jobs, audit, queries.\n"
        "  routes  Show the routes for the app.\n"
        "  run  Run a development server.\n"
        "  shell  Open a shell of the blog.\n"
        "  translate  Translation and localization commands.\n"
        "  users  Manage readers.\n"
    )


def test_program_has_ops(blog: Callable[..., Result]) -> None:
    listed = blog("ops", "users", "list")
    assert listed == Result(
        0,
        "id\temail\tusername\tstatus\troles\tlast_seen_at\n",
        "Nothing is audited until flask ops init.\n",
    )
    refused = blog("ops", "audit", "list")
    assert (refused.exit_code, refused.stderr.splitlines()[-1]) == (7, "  → flask ops init")
    other = blog("mail", "list")
    assert (other.exit_code, other.stderr.splitlines()[-1]) == (
        2,
        "Error: No such command 'mail'. Did you mean 'ops mail'?",
    )
