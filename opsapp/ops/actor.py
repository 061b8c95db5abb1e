"""The actor, the door and the correlation of a change by an application's own code."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import cache
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from flask import g, has_app_context, has_request_context

from ..actors import Actor, at_terminal
from ..types import Record
from .changes import Accounts

WEB, CODE = "web", "code"


def actor_columns(accounts: Accounts | None, actor: Callable[[], Any] | None) -> Record:
    """Return the columns of an event that say who changed an account.

    :param actor: returns the account of a request, or a name. It must not query: it is
        called inside of a flush. By default the account that Flask-Login has loaded.
    """
    if has_request_context():
        user = g.get("_login_user") if actor is None else actor()
        return {
            "actor": _account(accounts, user).record(),
            "door": WEB,
            "correlation": _correlation(),
        }
    return {"actor": _process(), "door": CODE, "correlation": _correlation()}


def _account(accounts: Accounts | None, user: Any) -> Actor:
    if accounts is not None and isinstance(user, accounts.model):
        # Its key is known without a query, be it expired. One that registers has none yet.
        if key := sa.inspect(user).identity:
            return Actor(kind="user", name=accounts.subject_of(key[0]), host=_host())
    elif isinstance(user, str):
        return Actor(kind="user", name=user, host=_host())
    return Actor(kind="stranger", name="stranger", host=_host())


def _correlation() -> str:
    if not has_app_context():
        return str(uuid4())
    correlation: str | None = g.get("correlation")
    if correlation is None:
        correlation = g.correlation = str(uuid4())
    return correlation


@cache
def _process() -> dict[str, str]:
    return at_terminal().record()


@cache
def _host() -> str:
    return socket.gethostname()
