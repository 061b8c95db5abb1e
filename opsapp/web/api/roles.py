"""``/api/roles``: roles."""

from __future__ import annotations

from flask import Response, jsonify
from flask.views import MethodView

from ...accounts import roles
from ...accounts.lookup import get_role
from ...types import Record
from .access import needs
from .blueprint import Blueprint
from .paging import next_page
from .schemas import RoleAnswer, RolePage, RolesQuery

blueprint = Blueprint("roles", __name__, url_prefix="/api/roles", description="Roles.")


@blueprint.route("")
class Roles(MethodView):
    """All roles."""

    @needs("roles:read")
    @blueprint.arguments(RolesQuery, location="query")
    @blueprint.response(200, RolePage)
    @blueprint.operation("list_roles")
    def get(self, query: Record) -> Response:
        """List the roles by name.

        In pages: `next` is the address of the next one.
        """
        limit = query["limit"]
        rows = roles.listing(after=query.get("after"), limit=limit + 1)
        return jsonify(roles=rows[:limit], next=next_page(rows, limit, key="name"))


@blueprint.route("/<string:name>", endpoint="One")
class OneRole(MethodView):
    """One role."""

    @needs("roles:read")
    @blueprint.response(200, RoleAnswer)
    @blueprint.operation("get_role")
    def get(self, name: str) -> Response:
        """Show a role."""
        return jsonify(roles.record(get_role(name)))
