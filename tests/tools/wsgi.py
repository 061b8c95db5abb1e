"""The application for a real server, as only a test wants it."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

import sqlalchemy as sa
from flask import Flask

import opsapp
from opsapp.extensions import db


def create_app() -> Flask:
    """Without rate limits: a test sends more than a person would."""
    return opsapp.create_app({"RATELIMIT_ENABLED": False})


def create_halting_app() -> Flask:
    """Before it commits a change it tells the pipe ``HALTED`` its process, and goes no further.

    It goes on as ever while nobody has the pipe open.
    """

    @sa.event.listens_for(db.session, "before_commit")
    def halt(_session: object) -> None:
        with suppress(OSError):
            pipe = os.open(os.environ["HALTED"], os.O_WRONLY | os.O_NONBLOCK)
            os.write(pipe, str(os.getpid()).encode())
            threading.Event().wait()

    return opsapp.create_app()
