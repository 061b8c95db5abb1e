"""A database server that a test may stop and start."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import Database, run
from tests.support.postgres import start_postgres
from tests.support.templates import Templates


@pytest.fixture
def own_server(sqlite_templates: Templates, tmp_path: Path) -> Iterator[tuple[Any, Database]]:
    """A PostgreSQL server that a test may restart, and an initialised database on it."""
    folder = Path(tempfile.mkdtemp(prefix="opsapp-own-"))
    folder.chmod(0o755)
    server = start_postgres(folder)
    instance = tmp_path / "instance"
    shutil.copytree(sqlite_templates.of().instance, instance)
    database = Database(server.get_uri(), instance)
    try:
        run(database, "db", "init", check=True)
        yield server, database
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
