"""Access to the API: the caller's account, by token or session, and each view's permission."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from flask import Response, abort, current_app, g, jsonify, request
from flask_login import current_user
from flask_security.utils import check_and_update_authn_fresh
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from ... import text
from ...accounts import authority
from ...actors import Powers
from ...errors import Refused
from ...models import ApiToken, User
from ...unit.work import Unit
from .. import limits
from ..actor import bearer_token, live_token, note_use, signed_in_user, unit_of_api
from ..security.setup import FRESH, NO_GRACE, csrf
from ..x_profile import profile

View = TypeVar("View", bound=Callable[..., Any])
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
SCHEMES = ("token", "session")
SIGNED_IN: list[dict[str, list[str]]] = [{scheme: []} for scheme in SCHEMES]
"""How a view that needs no permission is called, for the OpenAPI document.

Generators of clients read it at the view, and not where the document says it of all.
"""


@dataclass(frozen=True, slots=True)
class Caller:
    """The account that calls, and its token; None for a session."""

    user: User
    token: ApiToken | None
    label: str
    """The account and the token in words; ``users delete`` may remove the token meanwhile."""

    @property
    def powers(self) -> Powers:
        """The account, limited to the scope of the token."""
        scope = self.token.permissions if self.token else None
        return Powers(self.user.id, None if scope is None else frozenset(scope))


def caller() -> Caller:
    """Return the caller of this request.

    :raises Unauthorized: there is no live session or token.
    """
    if "caller" not in g:
        try:
            g.caller = _by_token() if "Authorization" in request.headers else _by_session()
        except Unauthorized:
            limits.count_failure()
            raise
    caller: Caller = g.caller
    return caller


def _by_token() -> Caller:
    if bearer_token() is None:
        raise _unauthorized_error("Send the token as Authorization: Bearer TOKEN.")
    token = live_token()
    if token is None:
        raise _unauthorized_error("This token does not work.")
    note_use(token)
    label = f"{token.user.reference} (token {text.safe(token.name)})"
    return Caller(token.user, token, label)


def _by_session() -> Caller:
    if not current_user.is_authenticated:
        raise _unauthorized_error("Sign in, or send a token.")
    user = signed_in_user()
    if user.check_tf_required_setup() and user.tf_primary_method is None:  # type: ignore[attr-defined]
        abort(403, "Set up two factors first.")
    if user.must_change_password:
        abort(403, "Choose a new password first, at /change.")
    if request.method not in SAFE:
        # Browsers send the cookie from every site, but only our pages know this token.
        csrf.protect()
        if not check_and_update_authn_fresh(FRESH, NO_GRACE, "session"):
            raise _unauthorized_error("Confirm your password first, at /verify.")
    return Caller(user, None, user.reference)


def _unauthorized_error(message: str) -> Unauthorized:
    return Unauthorized(message, www_authenticate=WWWAuthenticate("bearer"))


def needs(permission: str) -> Callable[[View], View]:
    """Require ``permission`` of the caller of a view, and document it.

    Put it outermost, so that a caller without it learns nothing about the view.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def checked_view(*args: Any, **kwargs: Any) -> Any:
            powers = caller().powers
            if permission not in authority.permissions_now(powers):
                raise Refused(f"that needs the permission {permission}")
            return profile(lambda: current_app.ensure_sync(view)(*args, **kwargs), powers)

        _document(checked_view, permission)
        return checked_view  # type: ignore[return-value]

    return decorate


def answer_to_reader(permission: str, response: Callable[[], Response]) -> Response:
    """Return the answer to a change, or ``null`` to a caller who may not read the record.

    Otherwise a change of nothing would read it.
    """
    return response() if permission in authority.permissions_now(caller().powers) else jsonify(None)


def _document(view: Any, permission: str) -> None:
    """Name the permission in the OpenAPI document, where flask-smorest looks for it."""
    # A copy: functools.wraps shares the dictionary with the function below.
    view._apidoc = deepcopy(getattr(view, "_apidoc", {}))
    manual = view._apidoc.setdefault("manual_doc", {})
    manual["security"] = [{scheme: [permission]} for scheme in SCHEMES]


def unit() -> Unit:
    """Return the unit of work of a view that changes something."""
    account = caller()
    return unit_of_api(account.user, account.token, account.powers)
