"""A line to the server that breaks at the COMMIT of a change: before it arrives, or its answer."""

from __future__ import annotations

import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

SIZE = 1 << 16


class _Breaking(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        line = self.server
        assert isinstance(line, Line)
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(line.path)
            has_written = False
            while True:
                readable, _, _ = select.select([self.request, server], [], [])
                for end, other in ((self.request, server), (server, self.request)):
                    if end not in readable:
                        continue
                    try:
                        data = end.recv(SIZE)
                    except ConnectionError:
                        data = b""
                    if not data:
                        return
                    has_written |= b"INSERT INTO ops_audit_events" in data
                    if end is self.request and has_written and b"COMMIT" in data and line.breaks():
                        if line.loses == "answer":
                            server.sendall(data)
                            server.recv(SIZE)  # It is committed.
                        return
                    other.sendall(data)


class Line(socketserver.ThreadingTCPServer):
    """It listens on a port of its own, and breaks once for each time that it is told to.

    :param url: of a database, through the socket of its server.
    :param loses: ``question``, so that nothing is committed, or ``answer``.
    """

    daemon_threads = True

    def __init__(self, url: str, loses: str) -> None:
        super().__init__(("127.0.0.1", 0), _Breaking)
        query = parse_qs(urlsplit(url).query)
        port = query.get("port", ["5432"])[0]
        self.path = f"{query['host'][0]}/.s.PGSQL.{port}"
        self.url = f"postgresql://postgres@127.0.0.1:{self.server_address[1]}{urlsplit(url).path}"
        self.loses = loses
        self._due = threading.Semaphore(0)

    def break_next(self) -> None:
        """Break at the next COMMIT of a change."""
        self._due.release()

    def breaks(self) -> bool:
        """Return whether it is to break now."""
        return self._due.acquire(blocking=False)


@contextmanager
def line(url: str, loses: str) -> Iterator[Line]:
    """Run a line until the end."""
    with Line(url, loses) as breaking:
        thread = threading.Thread(target=breaking.serve_forever)
        thread.start()
        try:
            yield breaking
        finally:
            breaking.shutdown()
            thread.join()
