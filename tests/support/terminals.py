"""A terminal of a given size that a command runs at."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

from tests.support import FLASK, Database


def on_terminal(
    database: Database, *args: str, columns: int = 100, lines: int = 0, **environ: str
) -> str:
    """Return the output at a terminal of this size; one without lines has no pager."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        [FLASK, *args],
        env={**database.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), **environ},
        cwd=database.instance,
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    received = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([leader], [], [], 1)[0]:
            continue
        try:
            part = os.read(leader, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        received += part
    process.wait(timeout=10)
    os.close(leader)
    return received.decode().replace("\r\n", "\n")
