"""``/api/me``: who calls, and what they may do."""

from __future__ import annotations

from flask import Response, jsonify
from flask.views import MethodView
from flask_wtf.csrf import generate_csrf

from ...accounts import authority
from ...accounts.records import user_record
from ...models.accounts import EveryPermission
from .access import caller
from .blueprint import Blueprint
from .schemas import MeAnswer

blueprint = Blueprint("me", __name__, url_prefix="/api/me", description="Yourself.")


@blueprint.route("")
class Me(MethodView):
    """Who calls."""

    @blueprint.response(200, MeAnswer)
    def get(self) -> Response:
        """Show who you are to the API.

        Needs no permission.
        """
        found = caller()
        held = authority.held_by(found.powers)
        return jsonify(
            user=user_record(found.user),
            permissions=["*"] if isinstance(held, EveryPermission) else sorted(held),
            token=found.token.name if found.token else None,
            csrf_token=None if found.token else generate_csrf(),
        )
