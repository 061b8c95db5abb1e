"""``/api/roles``: roles."""

from __future__ import annotations

from flask import Response, jsonify
from flask.views import MethodView

from ...accounts import roles
from ...accounts.lookup import get_role
from .access import needs
from .blueprint import Blueprint
from .schemas import RoleAnswer, RolesAnswer

blueprint = Blueprint("roles", __name__, url_prefix="/api/roles", description="Roles.")


@blueprint.route("")
class Roles(MethodView):
    """All roles."""

    @needs("roles:read")
    @blueprint.response(200, RolesAnswer)
    def get(self) -> Response:
        """List the roles."""
        return jsonify(roles=roles.listing())


@blueprint.route("/<string:name>", endpoint="One")
class OneRole(MethodView):
    """One role."""

    @needs("roles:read")
    @blueprint.response(200, RoleAnswer)
    def get(self, name: str) -> Response:
        """Show a role."""
        return jsonify(roles.record(get_role(name)))
