"""A MariaDB server of the tests' own, on a socket of its folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import sqlalchemy as sa

MISSING = "there is no mariadbd: apt-get install mariadb-server"


def is_installed() -> bool:
    """Return whether a server can be started."""
    return _program("mariadbd") is not None and _program("mariadb-install-db") is not None


def _program(name: str) -> str | None:
    # Debian has servers where the PATH of a user does not lead.
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


@contextmanager
def started(folder: Path) -> Iterator[str]:
    """Start a server; yields its URL, with ``{}`` for the name of a database."""
    data, socket = folder / "data", folder / "socket"
    who = ["--user=root"] if os.geteuid() == 0 else []
    common = ["--no-defaults", f"--datadir={data}", *who]
    passwordless = "--auth-root-authentication-method=normal"
    subprocess.run(
        [str(_program("mariadb-install-db")), *common, passwordless, "--skip-test-db"],
        check=True,
        capture_output=True,
    )
    with subprocess.Popen(
        [
            str(_program("mariadbd")),
            *common,
            f"--socket={socket}",
            "--skip-networking",
            f"--pid-file={data}/pid",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        # A pipe that is full would stop the server.
        rest = Thread(target=server.stderr.read, daemon=True)
        try:
            for line in server.stderr:
                if "ready for connections" in line:
                    break
            else:
                raise AssertionError("mariadbd did not start")
            rest.start()
            yield f"mysql+pymysql://root@localhost/{{}}?unix_socket={socket}"
        finally:
            server.terminate()
            server.wait()
            if rest.is_alive():
                rest.join()


def administer(server: str, statement: str) -> None:
    """Execute a statement as root."""
    engine = sa.create_engine(server.format(""))
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
    finally:
        engine.dispose()
