"""``/api/users/<id>/roles`` and ``…/grants``: the roles of an account, and their history."""

from __future__ import annotations

from flask import Response, jsonify
from flask.views import MethodView

from ...accounts import grants
from ...types import Record
from .access import answer_to_reader, needs, unit
from .blueprint import WHY, Blueprint
from .paging import next_page
from .schemas import GrantPage, GrantsQuery, HeldRolePage, NewGrant, RolesQuery, or_null

blueprint = Blueprint("grants", __name__, url_prefix="/api/users", description="Roles of accounts.")


@blueprint.route("/<int:id>/grants")
class Grants(MethodView):
    """Every grant that an account ever had."""

    @needs("roles:read")
    @blueprint.arguments(GrantsQuery, location="query")
    @blueprint.response(200, GrantPage)
    @blueprint.operation("list_user_grants")
    def get(self, query: Record, id: int) -> Response:
        """List the grants of an account, past and present, the newest first.

        In pages: `next` is the address of the next one.
        """
        limit = query["limit"]
        rows = grants.history(str(id), before=query.get("after"), limit=limit + 1)
        return jsonify(grants=rows[:limit], next=next_page(rows, limit))


@blueprint.route("/<int:id>/roles")
class Held(MethodView):
    """The roles that an account holds now."""

    @needs("roles:read")
    @blueprint.arguments(RolesQuery, location="query")
    @blueprint.response(200, HeldRolePage)
    @blueprint.operation("list_user_roles")
    def get(self, query: Record, id: int) -> Response:
        """List the roles that an account holds now, by name.

        In pages: `next` is the address of the next one.
        """
        limit = query["limit"]
        rows = grants.held_roles(str(id), after=query.get("after"), limit=limit + 1)
        return jsonify(roles=rows[:limit], next=next_page(rows, limit, key="name"))


@blueprint.route("/<int:id>/roles/<string:role>")
class OneRole(MethodView):
    """One role of an account."""

    @needs("roles:grant")
    @blueprint.arguments(NewGrant)
    @blueprint.response(200, or_null("Grant"))
    @blueprint.operation("grant_role", parameters=[WHY])
    def put(self, body: Record, id: int, role: str) -> Response:
        """Grant a role, or change when the grant ends.

        No caller can grant a permission that it does not hold.
        """
        until = body.get("valid_until")
        row = grants.grant(role, [str(id)], until=until, replace_end=True, unit=unit())[0]
        return answer_to_reader("roles:read", lambda: jsonify(row))

    @needs("roles:grant")
    @blueprint.takes_no_body
    @blueprint.response(200, or_null("Grant"))
    @blueprint.operation("revoke_role", parameters=[WHY])
    def delete(self, id: int, role: str) -> Response:
        """Revoke a role; the account's sessions and tokens end."""
        row = grants.revoke(role, [str(id)], unit=unit())[0]
        return answer_to_reader("roles:read", lambda: jsonify(row))
