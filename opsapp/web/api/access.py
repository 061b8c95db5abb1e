"""Who calls the API, and may they: a token or a session, and a permission for each verb."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from flask import abort, current_app, g, request
from flask_login import current_user
from flask_security.utils import check_and_update_authn_fresh
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from ...accounts import authority, tokens
from ...actors import Powers
from ...models import ApiToken, User
from ...unit.work import Unit
from .. import limits
from ..actor import unit_of_api, write_down_use
from ..security.setup import FRESH, NO_GRACE, csrf
from ..x_profile import look

View = TypeVar("View", bound=Callable[..., Any])
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Caller:
    """An account that calls, and the token it came with, if it came with one."""

    user: User
    token: ApiToken | None

    @property
    def powers(self) -> Powers:
        """What it may do."""
        scope = self.token.permissions if self.token else None
        return Powers(self.user.id, None if scope is None else frozenset(scope))


def caller() -> Caller:
    """Who calls.

    :raises Unauthorized: nobody is signed in, or the token does not work (any more).
    """
    if "caller" not in g:
        try:
            g.caller = _by_token() if "Authorization" in request.headers else _by_session()
        except Unauthorized:
            limits.count_failure()
            raise
    found: Caller = g.caller
    return found


def _by_token() -> Caller:
    kind, _space, value = request.headers["Authorization"].partition(" ")
    if kind.lower() != "bearer":
        raise _unauthorized("Send the token as Authorization: Bearer TOKEN.")
    found = tokens.find_live(value.strip())
    if found is None:
        raise _unauthorized("This token does not work.")
    write_down_use(tokens.see, found)
    return Caller(found.user, found)


def _by_session() -> Caller:
    if not current_user.is_authenticated:
        raise _unauthorized("Sign in, or send a token.")
    user: User = current_user._get_current_object()
    if user.check_tf_required_setup() and user.tf_primary_method is None:  # type: ignore[attr-defined]
        abort(403, "Set up two factors first.")
    if request.method not in SAFE:
        # A cookie comes with every request, from whatever page: only ours know this token.
        csrf.protect()
        if not check_and_update_authn_fresh(FRESH, NO_GRACE, "session"):
            raise _unauthorized("Confirm your password first, at /verify.")
    return Caller(user, None)


def _unauthorized(message: str) -> Unauthorized:
    return Unauthorized(message, www_authenticate=WWWAuthenticate("bearer"))


def needs(permission: str) -> Callable[[View], View]:
    """Let a view be used by who holds ``permission``, and document it; the outermost decorator,
    so that strangers learn nothing of what it takes."""

    def decorate(view: View) -> View:
        @wraps(view)
        def allowed(*args: Any, **kwargs: Any) -> Any:
            powers = caller().powers
            if permission not in authority.held_by(powers):
                abort(403, f"That needs the permission {permission}.")
            return look(lambda: current_app.ensure_sync(view)(*args, **kwargs), powers)

        _document(allowed, permission)
        return allowed  # type: ignore[return-value]

    return decorate


def _document(view: Any, permission: str) -> None:
    """Name the permission in the OpenAPI document, where flask-smorest looks for it."""
    # A copy: functools.wraps shares the dictionary with the function below.
    view._apidoc = deepcopy(getattr(view, "_apidoc", {}))
    schemes = ("token", "session")
    manual = view._apidoc.setdefault("manual_doc", {})
    manual["security"] = [{scheme: [permission]} for scheme in schemes]


def unit() -> Unit:
    """The unit of work of a view that changes something."""
    found = caller()
    return unit_of_api(found.user, found.token, found.powers)
