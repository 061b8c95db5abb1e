"""A real SMTP server on a port of its own, and the office that a test may put behind it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from opsapp.settings import config
from tests.support.processes import PATIENCE


class Office:
    """A mail server that keeps what it takes, and can refuse it or be made to wait."""

    def __init__(self) -> None:
        self.envelopes: list[tuple[str, list[str], EmailMessage]] = []
        self.refusals: dict[str, str] = {}
        """Its answers to ``RCPT`` or ``DATA`` instead of taking the message."""
        self.meanwhile: Callable[[], object] | None = None
        """Called while the server has the first message and has not answered."""

    async def handle_RCPT(  # noqa: N802  (aiosmtpd calls it)
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if "RCPT" not in self.refusals:
            envelope.rcpt_tos.append(address)
        return self.refusals.get("RCPT", "250 OK")

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await asyncio.to_thread(meanwhile)
        if "DATA" in self.refusals:
            return self.refusals["DATA"]
        assert isinstance(envelope.content, bytes)
        content = envelope.content.replace(b"\r\n", b"\n")
        message = message_from_bytes(content, policy=policy.default)
        self.envelopes.append((str(envelope.mail_from), envelope.rcpt_tos, message))
        return "250 OK"

    @property
    def recipients(self) -> list[str]:
        """The recipients of messages, in the order of delivery."""
        return [recipient for _sender, to, _message in self.envelopes for recipient in to]


class _PostOffice(Controller):
    """An SMTP server on a socket that is bound already: Controller cannot take any free port."""

    def __init__(self, handler: object, listener: socket.socket, **options: Any) -> None:
        hostname, port = listener.getsockname()
        super().__init__(handler, hostname=hostname, port=port, ready_timeout=PATIENCE, **options)
        self.listener = listener

    async def _create_server(self) -> asyncio.Server:
        return await self.loop.create_server(
            self._factory_invoker, sock=self.listener, ssl=self.ssl_context
        )


@contextmanager
def smtp_server(handler: object, **options: Any) -> Iterator[int]:
    """A real SMTP server that hands all to the handler; its port.

    :param handler: has aiosmtpd's hooks, such as ``handle_DATA``.
    :param options: aiosmtpd's, such as ``tls_context`` for STARTTLS.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = _PostOffice(handler, listener, **options)
        server.start()
        try:
            yield server.port
        finally:
            server.stop()


@contextmanager
def post_office(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Iterator[Office]:
    """A mail server to which everything is sent meanwhile; ``options`` are aiosmtpd's."""
    office = Office()
    with smtp_server(office, **options) as port:
        monkeypatch.setenv("MAIL_SERVER", "127.0.0.1")
        monkeypatch.setenv("MAIL_PORT", str(port))
        # It may be made to wait for as long as it takes.
        monkeypatch.setattr(config, "MAIL_SECONDS", PATIENCE)
        yield office
