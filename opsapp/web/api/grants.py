"""``/api/users/<id>/roles`` and ``…/grants``: the roles of an account, and their history."""

from __future__ import annotations

from flask import Response, jsonify
from flask.views import MethodView

from ...accounts import authority, grants
from ...accounts.lookup import get_user
from ...models import Role
from ...types import Record
from .access import answer_to_reader, needs, unit
from .blueprint import UNREAD, WHY, Blueprint
from .schemas import Grant, GrantAnswer, GrantsAnswer, HeldRoles

blueprint = Blueprint("grants", __name__, url_prefix="/api/users", description="Roles of accounts.")


@blueprint.route("/<int:id>/grants")
class Grants(MethodView):
    """Every grant that an account ever had."""

    @needs("roles:read")
    @blueprint.response(200, GrantsAnswer)
    def get(self, id: int) -> Response:
        """List the grants of an account, past and present."""
        return jsonify(grants=grants.history(str(id)))


@blueprint.route("/<int:id>/roles")
class Held(MethodView):
    """The roles that an account holds now."""

    @needs("roles:read")
    @blueprint.response(200, HeldRoles)
    def get(self, id: int) -> Response:
        """List the roles that an account holds now."""
        roles: list[Role] = get_user(str(id)).roles
        return jsonify(
            roles=[
                {
                    "name": role.name,
                    "permissions": authority.permission_names(role.get_permissions()),
                }
                for role in roles
            ]
        )


@blueprint.route("/<int:id>/roles/<string:role>")
class OneRole(MethodView):
    """One role of an account."""

    @needs("roles:grant")
    @blueprint.arguments(Grant)
    @blueprint.response(200, GrantAnswer)
    @blueprint.doc(parameters=[WHY], responses=UNREAD)
    def put(self, body: Record, id: int, role: str) -> Response:
        """Grant a role, or change when the grant ends.

        No caller can grant a permission that it does not hold.
        """
        until = body.get("valid_until")
        row = grants.grant(role, [str(id)], until=until, unit=unit())[0]
        return answer_to_reader("roles:read", lambda: jsonify(row))

    @needs("roles:grant")
    @blueprint.response(200, GrantAnswer)
    @blueprint.doc(parameters=[WHY], responses=UNREAD)
    def delete(self, id: int, role: str) -> Response:
        """Revoke a role; the account's sessions and tokens end."""
        row = grants.revoke(role, [str(id)], unit=unit())[0]
        return answer_to_reader("roles:read", lambda: jsonify(row))
