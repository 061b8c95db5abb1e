"""``/api/users/<id>/roles`` and ``…/grants``: who holds what, since when and why."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify
from flask.views import MethodView

from ...accounts import authority, grants
from ...accounts.lookup import get_user
from ...models import Role
from .access import needs, unit
from .blueprint import WHY, Blueprint
from .schemas import Grant, GrantAnswer, GrantsAnswer, HeldRoles

blueprint = Blueprint("grants", __name__, url_prefix="/api/users", description="Roles of accounts.")


@blueprint.route("/<int:id>/grants")
class Grants(MethodView):
    """Every grant an account ever had."""

    @needs("roles:read")
    @blueprint.response(200, GrantsAnswer)
    def get(self, id: int) -> Response:
        """List the grants of an account, past and present."""
        return jsonify(grants=grants.history(str(id)))


@blueprint.route("/<int:id>/roles")
class Held(MethodView):
    """What an account holds now."""

    @needs("roles:read")
    @blueprint.response(200, HeldRoles)
    def get(self, id: int) -> Response:
        """List the roles that an account holds now."""
        held: list[Role] = get_user(str(id)).roles
        return jsonify(
            roles=[
                {"name": role.name, "permissions": authority.listed(role.get_permissions())}
                for role in held
            ]
        )


@blueprint.route("/<int:id>/roles/<string:role>")
class OneRole(MethodView):
    """One role of an account."""

    @needs("roles:grant")
    @blueprint.arguments(Grant)
    @blueprint.response(200, GrantAnswer)
    @blueprint.doc(parameters=[WHY])
    def put(self, asked: dict[str, Any], id: int, role: str) -> Response:
        """Grant a role, or change when the grant ends.

        Nobody can grant what they do not hold.
        """
        until = asked.get("valid_until")
        return jsonify(grants.grant(role, [str(id)], until=until, unit=unit())[0])

    @needs("roles:grant")
    @blueprint.response(200, GrantAnswer)
    @blueprint.doc(parameters=[WHY])
    def delete(self, id: int, role: str) -> Response:
        """Revoke a role; the account's sessions and tokens end."""
        return jsonify(grants.revoke(role, [str(id)], unit=unit())[0])
