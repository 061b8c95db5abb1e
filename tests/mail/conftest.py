"""The mail server of a test: there, or down."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask import Flask

import opsapp
from tests.support import Cli, close_connections
from tests.support.post import Office, post_office


@pytest.fixture
def office(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """The mail server of this test, where its commands send to."""
    with post_office(monkeypatch) as office:
        yield office


@pytest.fixture
def app(cli: Cli, office: Office) -> Iterator[Flask]:
    """The application that sends to this server, for what the commands cannot show."""
    with opsapp.without_web():
        app = opsapp.create_app()
    yield app
    close_connections()


@contextmanager
def nobody_listening() -> Iterator[int]:
    """A port that refuses connections: it is bound, so no other process takes it meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def away(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A mail server that is down."""
    with nobody_listening() as port:
        monkeypatch.setenv("MAIL_SERVER", "127.0.0.1")
        monkeypatch.setenv("MAIL_PORT", str(port))
        yield
