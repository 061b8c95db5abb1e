"""A MariaDB server of the tests' own, on a socket of its folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

MISSING = "there is no mariadbd: apt-get install mariadb-server"


def is_installed() -> bool:
    """Return whether a server can be started."""
    return shutil.which("mariadbd") is not None and shutil.which("mariadb-install-db") is not None


@contextmanager
def started(folder: Path) -> Iterator[str]:
    """Start a server; yields its URL, with ``{}`` for the name of a database."""
    data, socket = folder / "data", folder / "socket"
    who = ["--user=root"] if os.geteuid() == 0 else []
    common = ["--no-defaults", f"--datadir={data}", *who]
    passwordless = "--auth-root-authentication-method=normal"
    subprocess.run(
        ["mariadb-install-db", *common, passwordless, "--skip-test-db"],
        check=True,
        capture_output=True,
    )
    with subprocess.Popen(
        ["mariadbd", *common, f"--socket={socket}", "--skip-networking", f"--pid-file={data}/pid"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stderr is not None
            for line in server.stderr:
                if "ready for connections" in line:
                    break
            else:
                raise AssertionError("mariadbd did not start")
            yield f"mysql+pymysql://root@localhost/{{}}?unix_socket={socket}"
        finally:
            server.terminate()
            server.communicate()


def administer(server: str, statement: str) -> None:
    """Execute a statement as root."""
    engine = sa.create_engine(server.format(""))
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
    finally:
        engine.dispose()
