"""PgBouncers of the tests' own, in front of their PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from sqlalchemy.engine import make_url

from tests.support import Database

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
IGNORING = {"ignore_startup_parameters": "options"}
"""The settings of docs/deploying.md."""


@contextmanager
def pgbouncer(server: str, mode: str, **settings: object) -> Iterator[int]:
    """A PgBouncer in front of ``server``; its port.

    :param mode: its ``pool_mode``.
    """
    assert PGBOUNCER is not None
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    query = make_url(server.format("postgres")).query
    data = str(query["host"])
    lines = [
        "[databases]",
        f"* = host={data} port={query.get('port', 5432)} user=postgres",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = any",
        f"pool_mode = {mode}",
        *(f"{name} = {value}" for name, value in settings.items()),
    ]
    with tempfile.TemporaryDirectory(prefix="opsapp-pgbouncer-") as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "pgbouncer.ini"
        file.write_text("\n".join(lines) + "\n")
        process = subprocess.Popen(
            [PGBOUNCER, *_as_owner_of(data), str(file)], stderr=subprocess.PIPE, text=True
        )
        # It would stop for good as soon as the pipe is full.
        reader = Thread(target=deque, args=(process.stderr, 0))
        with process:
            try:
                _wait_until_up(process)
                reader.start()
                yield port
            finally:
                process.terminate()
                process.wait()
                if reader.ident is not None:
                    reader.join()


def _as_owner_of(data: str) -> tuple[str, ...]:
    """The options with which root starts it: it refuses to be root."""
    return ("-u", pwd.getpwuid(Path(data).stat().st_uid).pw_name) if os.getuid() == 0 else ()


def _wait_until_up(process: subprocess.Popen[str]) -> None:
    lines: Any = process.stderr
    said = []
    for line in lines:
        said.append(line)
        if "process up" in line:
            return
    raise AssertionError("".join(said))


@dataclass(frozen=True)
class Pooled(Database):
    """An installation whose URL leads through a PgBouncer; ``direct`` is the one around it."""

    direct: str | None = None

    @property
    def environ(self) -> dict[str, str]:
        direct = {"OPSAPP_DIRECT_DATABASE_URL": self.direct} if self.direct else {}
        return {**super().environ, **direct}


def behind(database: Database, port: int, *, direct: bool = False) -> Pooled:
    """The same installation, through the PgBouncer of this port.

    :param direct: it knows the way around as well.
    """
    name = make_url(database.url).database
    url = f"postgresql://postgres@127.0.0.1:{port}/{name}"
    return Pooled(url, database.instance, database.url if direct else None)
