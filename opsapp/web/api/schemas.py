"""Requests and answers of the API, as marshmallow checks and OpenAPI documents them.

A request with an unknown field is refused with 422. Answers are the records of the
services, the same as ``--format json``; their schemas only document them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import marshmallow as ma
from marshmallow import fields, validate

from ...accounts.listing import SORTS, STATUSES
from ...accounts.lookup import LARGEST_ID
from ...accounts.roles import LONGEST_NAME, NAME

LARGEST_PAGE = 500
Id = validate.Range(1, LARGEST_ID)


def _text(longest: int, description: str, **options: Any) -> fields.String:
    return fields.String(
        validate=validate.Length(min=1, max=longest),
        metadata={"description": description},
        **options,
    )


def _email(description: str, **options: Any) -> fields.String:
    return fields.String(
        validate=validate.Length(min=1, max=254),
        metadata={"format": "email", "description": description},
        **options,
    )


class YesOrNo(fields.Boolean):
    """A strict boolean: true or false, and no other spelling."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Digits(fields.Integer):
    """A number of decimal digits, without the other spellings that Python reads."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> int:
        if not (isinstance(value, str) and value.isascii() and value.isdigit()):
            raise self.make_error("invalid", input=value)
        number: int = super()._deserialize(value, attr, data, **options)
        return number


class Moment(fields.AwareDateTime):
    """A time with its zone, converted to UTC."""

    default_error_messages = {  # noqa: RUF012  (marshmallow declares it so)
        "invalid": "Not a time such as 2026-11-24T00:00:00Z.",
        "invalid_awareness": "It needs a zone, as in 2026-11-24T00:00:00Z.",
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> datetime:
        moment: datetime = super()._deserialize(value, attr, data, **options)
        try:
            return moment.astimezone(UTC)
        except OverflowError as error:  # On the first or last day of the calendar.
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE) from error


def _moment(description: str, **options: Any) -> Moment:
    return Moment(format="iso", metadata={"description": description}, **options)


def or_null(name: str) -> dict[str, Any]:
    """Return the schema of the answer to a change: ``null`` if the caller may not read it.

    :param name: the schema of the record, which another operation answers with.
    """
    return {"anyOf": [{"$ref": f"#/components/schemas/{name}"}, {"type": "null"}]}


class Problem(ma.Schema):
    """An error."""

    error = fields.String(required=True, metadata={"description": "Its name: Not Found."})
    message = fields.String(required=True, metadata={"description": "The error, in a line."})
    status_code = fields.Integer(required=True)
    correlation = fields.String(
        required=True, metadata={"description": "The id under which the log knows it."}
    )
    fields_ = fields.Dict(data_key="fields", metadata={"description": "The errors of each field."})


class UserAnswer(ma.Schema):
    """An account."""

    id = fields.Integer(required=True)
    email = fields.String(required=True, allow_none=True)
    username = fields.String(required=True, allow_none=True)
    status = fields.String(required=True, validate=validate.OneOf(STATUSES))
    roles = fields.List(fields.String(), required=True)
    two_factor = fields.Boolean(required=True)
    created_at = fields.DateTime(required=True)
    last_seen_at = fields.DateTime(required=True, allow_none=True)


class Page(ma.Schema):
    """A page of a list."""

    next = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The address of the next page; null on the last one."},
    )


class PageQuery(ma.Schema):
    """The beginning and the length of a page."""

    limit = Digits(
        validate=validate.Range(1, LARGEST_PAGE),
        load_default=50,
        metadata={"description": "At most."},
    )


class UserPage(Page):
    """A page of accounts."""

    users = fields.List(fields.Nested(UserAnswer), required=True)


class UsersQuery(PageQuery):
    """Filters of accounts, which must all hold."""

    role = _text(64, "Holds this role.")
    without_role = _text(64, "Does not hold this role.")
    status = fields.String(validate=validate.OneOf(STATUSES))
    search = _text(254, "A part of the e-mail address or the username.")
    never_logged_in = fields.Boolean()
    created_since = _moment("Created then or later.")
    created_until = _moment("Created then or before.")
    seen_since = _moment("Seen then or later.")
    seen_until = _moment("Seen then or before.")
    sort = fields.String(validate=validate.OneOf(sorted(SORTS)), load_default="id")
    descending = fields.Boolean(load_default=False)
    after = Digits(
        validate=Id, metadata={"description": "The id of the last account of the page before."}
    )


class NewUser(ma.Schema):
    """A new account. Its owner chooses the password, by a link in the welcome mail."""

    email = _email("The address, which is also the name to sign in with.", required=True)
    username = _text(64, "A second name to sign in with.", allow_none=True)
    role = _text(64, "Grant this role as well.")


class UserChanges(ma.Schema):
    """Changes of an account; fields that are left out stay."""

    email = _email("The address; sessions opened under the old one end.")
    username = _text(64, "A second name to sign in with; null removes it.", allow_none=True)
    active = YesOrNo(metadata={"description": "false ends its sessions at once."})


class WholeUser(UserChanges):
    """All of an account that can be changed."""

    email = _email("The address.", required=True)
    username = _text(64, "A second name, or null.", required=True, allow_none=True)
    active = YesOrNo(required=True)


class RoleAnswer(ma.Schema):
    """A role."""

    id = fields.Integer(required=True)
    name = fields.String(required=True)
    description = fields.String(required=True)
    permissions = fields.List(fields.String(), required=True)
    builtin = fields.Boolean(required=True)
    holders = fields.Integer(required=True)
    inactive = fields.Integer(
        required=True, metadata={"description": "How many of the holders are deactivated."}
    )
    created_at = fields.DateTime(required=True)


class RolePage(Page):
    """A page of roles."""

    roles = fields.List(fields.Nested(RoleAnswer), required=True)


class RolesQuery(PageQuery):
    """The beginning of a page of roles."""

    after = fields.String(
        validate=[
            validate.Length(min=1, max=LONGEST_NAME),
            validate.Regexp(f"^{NAME.pattern}$", error="Not the name of a role."),
        ],
        metadata={"description": "The name of the last role of the page before."},
    )


class GrantAnswer(ma.Schema):
    """A grant of a role: its actor, its time, its end."""

    id = fields.Integer()
    role = fields.String(required=True)
    user_id = fields.Integer(required=True)
    user = fields.String(required=True, allow_none=True)
    state = fields.String(
        required=True,
        validate=validate.OneOf(["live", "expired", "revoked", "replaced", "not held"]),
    )
    granted_at = fields.DateTime(allow_none=True)
    granted_by = fields.String(allow_none=True)
    reason = fields.String(allow_none=True)
    valid_until = fields.DateTime(allow_none=True)
    ended_at = fields.DateTime(allow_none=True)
    ended_by = fields.String(allow_none=True)
    end_reason = fields.String(allow_none=True)
    changed = fields.Boolean(metadata={"description": "True if this request changed anything."})


class GrantPage(Page):
    """A page of grants, the newest first."""

    grants = fields.List(fields.Nested(GrantAnswer), required=True)


class GrantsQuery(PageQuery):
    """The beginning of a page of grants."""

    after = Digits(
        validate=Id, metadata={"description": "The id of the last grant of the page before."}
    )


class HeldRole(ma.Schema):
    """A role that an account holds now."""

    name = fields.String(required=True)
    permissions = fields.List(fields.String(), required=True)


class HeldRolePage(Page):
    """A page of the roles that an account holds now."""

    roles = fields.List(fields.Nested(HeldRole), required=True)


class NewGrant(ma.Schema):
    """The end of a grant."""

    valid_until = _moment("When it ends by itself; left out or null is forever.", allow_none=True)


class MeAnswer(ma.Schema):
    """The caller."""

    user = fields.Nested(UserAnswer, required=True)
    permissions = fields.List(fields.String(), required=True)
    token = fields.String(
        required=True, allow_none=True, metadata={"description": "The token's name."}
    )
    csrf_token = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "For a browser to send as X-CSRFToken; null with a token."},
    )
