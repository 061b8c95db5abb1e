"""``/api/users``: accounts."""

from __future__ import annotations

import hashlib

from flask import Response, abort, jsonify, request, url_for
from flask.views import MethodView

from ...accounts import listing, reachable, signin, users
from ...accounts.lookup import get_user
from ...accounts.records import user_record
from ...models import User
from ...models.types import canonical_json
from ...types import Record
from .access import answer_to_reader, needs, unit
from .blueprint import WHY, Blueprint
from .paging import next_page
from .schemas import (
    NewUser,
    UserAnswer,
    UserChanges,
    UserPage,
    UsersQuery,
    WholeUser,
    or_null,
)

blueprint = Blueprint("users", __name__, url_prefix="/api/users", description="Accounts.")


CHANGES_A_VERSION = {
    "parameters": [
        WHY,
        {
            "name": "If-Match",
            "in": "header",
            "required": True,
            "description": "The ETag that was read, or * for any version.",
            "schema": {"type": "string"},
        },
    ],
    "responses": {
        "412": "PRECONDITION_FAILED",  # Another caller has changed it since.
        "428": "PRECONDITION_REQUIRED",  # If-Match is missing.
    },
}
VERSION = {
    "ETag": {
        "description": "Its version, to send back as If-Match or If-None-Match.",
        "required": True,
        "schema": {"type": "string"},
    }
}
VERSION_IF_READ = {"ETag": {**VERSION["ETag"], "required": False}}
PLACE = {
    "Location": {"description": "Its address.", "required": True, "schema": {"type": "string"}}
}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "An ETag: 304 if that is still its version.",
    "schema": {"type": "string"},
}


@blueprint.route("")
class Users(MethodView):
    """All accounts."""

    @needs("users:read")
    @blueprint.arguments(UsersQuery, location="query")
    @blueprint.response(200, UserPage)
    @blueprint.operation("list_users")
    def get(self, query: Record) -> Response:
        """List accounts.

        In pages: `next` is the address of the next one.
        """
        limit = query.pop("limit")
        paging = {name: query.pop(name, None) for name in ("sort", "descending", "after")}
        rows = list(listing.users(listing.Filter(**query), **paging, limit=limit + 1))
        return jsonify(users=rows[:limit], next=next_page(rows, limit))

    @needs("users:write")
    @blueprint.arguments(NewUser)
    @blueprint.response(201, or_null("User"), headers=VERSION_IF_READ | PLACE)
    @blueprint.operation("create_user", parameters=[WHY])
    def post(self, body: Record) -> Response:
        """Create an account.

        It has no password yet: its owner chooses one, by the link in the welcome mail.
        """
        account = users.create(
            body["email"], username=body.get("username"), role=body.get("role"), unit=unit()
        )
        response = answer_to_reader("users:read", lambda: _answer(account))
        response.status_code = 201
        response.location = url_for("users.One", id=account["id"])
        return response


@blueprint.route("/<int:id>", endpoint="One")
class OneUser(MethodView):
    """One account."""

    @needs("users:read")
    @blueprint.response(200, UserAnswer, headers=VERSION)
    @blueprint.operation(
        "get_user",
        parameters=[IF_NONE_MATCH],
        responses={"304": {"description": "It has not changed."}},
    )
    def get(self, id: int) -> Response:
        """Show an account."""
        response = _answer(user_record(get_user(str(id))))
        response.make_conditional(request)
        return response

    @needs("users:write")
    @blueprint.arguments(WholeUser)
    @blueprint.response(200, or_null("User"), headers=VERSION_IF_READ)
    @blueprint.operation("replace_user", **CHANGES_A_VERSION)
    def put(self, body: Record, id: int) -> Response:
        """Replace the changeable fields of an account."""
        return _change(id, body)

    @needs("users:write")
    @blueprint.arguments(UserChanges)
    @blueprint.response(200, or_null("User"), headers=VERSION_IF_READ)
    @blueprint.operation("update_user", **CHANGES_A_VERSION)
    def patch(self, body: Record, id: int) -> Response:
        """Change some fields of an account."""
        return _change(id, body)

    @needs("users:write")
    @blueprint.takes_no_body
    @blueprint.response(204)
    @blueprint.operation("delete_user", **CHANGES_A_VERSION)
    def delete(self, id: int) -> Response:
        """Erase an account.

        Its personal data goes; the audit log and the history of its grants stay.
        """
        with unit() as work:
            _refuse_stale(get_user(str(id)))
            users.delete(str(id), unit=work)
        return Response(status=204)


def _change(id: int, body: Record) -> Response:
    """Change the account if its version is the caller's, checked inside of the gate."""
    reference = str(id)
    if "email" in body:
        reachable.clean(body["email"])  # A mail server is asked before the gate, or never.
    with unit() as work:
        _refuse_stale(get_user(reference))
        if "email" in body or "username" in body:
            names: Record = {"email": body.get("email")}
            if "username" in body:
                names["username"] = body["username"] or ""
            users.update(reference, **names, unit=work)
        if "active" in body:
            verb = signin.activate if body["active"] else signin.deactivate
            verb([reference], unit=work)
        changed = user_record(get_user(reference))
    return answer_to_reader("users:read", lambda: _answer(changed))


def etag(record: Record) -> str:
    """Return a digest of all that the record shows: of its version, its last use and a lockout."""
    unstable = f"{record['last_seen_at']} {record['status']}"
    return f"{version(record)}-{_digest(unstable)[:8]}"


def version(record: Record) -> str:
    """Return the version of an account; neither its use nor a stranger's guesses change it."""
    stable = {name: value for name, value in record.items() if name != "last_seen_at"}
    stable["status"] = "active" if record["status"] == "locked" else record["status"]
    stable["created_at"] = str(record["created_at"])
    return _digest(canonical_json(stable))[:24]


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _refuse_stale(user: User) -> None:
    """Refuse to change another version than the caller's.

    docs/decisions/web.md#a-change-in-the-api-needs-if-match

    :raises PreconditionRequired: the caller names no version.
    :raises PreconditionFailed: the version is another one.
    """
    if not request.if_match:
        abort(428, "Send the ETag as If-Match, in its double quotes, or * for any version.")
    present = version(user_record(user))
    if request.if_match.star_tag or any(_names(tag, present) for tag in request.if_match):
        return
    if any(_names(tag, present) for tag in request.if_match.as_set(include_weak=True)):
        abort(412, "Send the ETag without W/, which a compressing proxy has added.")
    abort(412, "Another caller has changed it since. Read it again.")


def _names(tag: str | None, present: str) -> bool:
    return (tag or "").removeprefix("W/").strip('"').partition("-")[0] == present


def _answer(record: Record) -> Response:
    response = jsonify(record)
    response.set_etag(etag(record))
    return response
